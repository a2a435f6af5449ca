"""The chat in the terminal, run as people and scripts run it, over a real gateway."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from chat import exports
from chat.imports.taking import import_file
from chat.models import Conversation
from chat.terminal.chunks import ChunkReader
from chat.terminal.errors import AnswerCut, BadCommand, BadSetting
from chat.terminal.places import find_place
from chat.terminal.screens import harmless
from chat.terminal.talks import Talk, load, save
from chat.terminal.throughput import Answered, Measured, percentile
from tests.factories import make_user
from tests.mock_engine import MockEngine
from tests.product import ROOT, Product, joined, quick_product
from tests.terminals import COMMAND, SECONDS, environment_of, running_terminal

WHOLE = "t0 t1 t2 t3 t4 t5 t6 t7"


@pytest.fixture(scope="module")
def product(
    session_engine: MockEngine, new_var_dir: Callable[[], Path]
) -> Iterator[Product]:
    with quick_product(new_var_dir()) as product, joined(product, session_engine):
        yield product


@pytest.fixture
def run(product: Product, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """What the command ended with, in a folder of its own; `typed` is its input."""

    def ran(*flags: str, typed: str = "", **env: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*COMMAND, *flags],
            cwd=tmp_path,
            env=environment_of(product, **env),
            input=typed,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    return ran


def asked(engine: MockEngine) -> list[list[tuple[str, str]]]:
    """Role and text of the messages of each request that the engine got."""
    return [
        [(each["role"], each["content"]) for each in request.body["messages"]]
        for request in engine.requests("/v1/chat/completions")
    ]


def test_a_message_is_answered_on_standard_output_alone(run, engine):
    done = run("--message", "Hi", "--model", "mock-1")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{WHOLE}\n", "")
    assert asked(engine) == [[("user", "Hi")]]


def test_a_message_may_come_from_standard_input_to_the_model_that_is_served(
    run, engine
):
    done = run("--message", "-", "--system", "Be short.", typed="two\nlines\n")

    assert done.returncode == 0
    assert asked(engine) == [[("system", "Be short."), ("user", "two\nlines\n")]]


@pytest.mark.parametrize(
    ("flags", "env", "words"),
    [
        ((), {"SWITCHYARD_API_KEY": "sk-wrong"}, ["401", "from SWITCHYARD_API_KEY"]),
        ((), {"VAR_DIR": "nowhere"}, ["401", "No key was found", "--api-key-file"]),
        (("--model", "gpt-9"), {}, ["404", "gpt-9"]),
        (("--api-base", "http://127.0.0.1:1/v1"), {}, ["127.0.0.1:1", "start the"]),
        (("--api-base", "localhost"), {}, ["'localhost'", "http://127.0.0.1:8000/v1"]),
        (("--api-key-file", "none.txt"), {}, ["none.txt", "cannot be read"]),
        (("--load", "none.json"), {}, ["none.json", "cannot be read"]),
    ],
)
def test_what_goes_wrong_is_named_with_its_repair(run, engine, flags, env, words):
    done = run("--message", "Hi", *flags, **env)

    assert (done.returncode, done.stdout) == (1, "")
    assert all(word in done.stderr for word in words), done.stderr
    assert "sk-wrong" not in done.stderr
    assert not asked(engine)


def test_a_key_on_the_command_line_is_refused(run):
    assert run("--message", "Hi", "--api-key", "sk-x").returncode == 2


def test_this_machines_own_key_goes_to_no_other_machine(tmp_path):
    written = {"api_base": "http://127.0.0.1:9000/v1", "api_key": "sk-own"}
    (tmp_path / "credentials.json").write_text(json.dumps(written))
    folder = {"VAR_DIR": str(tmp_path)}

    assert find_place(None, None, folder).key == "sk-own"
    assert find_place("http://localhost:1/v1/", None, folder).key == "sk-own"
    assert find_place("https://api.example.org/v1", None, folder).key == ""
    assert "sk-own" not in repr(find_place(None, None, folder))


def test_a_key_file_comes_before_the_variable_and_must_hold_one_key(tmp_path):
    key_file = tmp_path / "key"
    environment = {"SWITCHYARD_API_KEY": "sk-variable"}

    key_file.write_text("sk-file\n")
    assert find_place(None, key_file, environment).key == "sk-file"
    for wrong in ("", "two keys", "line\nline"):
        key_file.write_text(wrong)
        with pytest.raises(BadSetting, match="key"):
            find_place(None, key_file, environment)


def test_a_script_talks_with_history_parameters_and_several_lines(run, engine):
    done = run(
        typed="/system Be kind.\n/set temperature 0.25\none\n"
        '"""\ntwo\n\nlines\n"""\n//three\n/quit\nnever\n'
    )

    system, answer = ("system", "Be kind."), ("assistant", WHOLE)
    one, two, three = ("user", "one"), ("user", "two\n\nlines"), ("user", "/three")
    assert (done.returncode, done.stdout) == (0, f"{WHOLE}\n" * 3)
    assert asked(engine) == [
        [system, one],
        [system, one, answer, two],
        [system, one, answer, two, answer, three],
    ]
    request = engine.requests("/v1/chat/completions")[-1]
    assert request.body["temperature"] == 0.25


def test_regenerate_asks_the_same_again_and_undo_and_new_forget(run, engine):
    done = run(typed="one\ntwo\n/regenerate\n/undo\nthree\n/new\nfour\n")

    one, answer = ("user", "one"), ("assistant", WHOLE)
    assert done.returncode == 0
    assert asked(engine) == [
        [one],
        [one, answer, ("user", "two")],
        [one, answer, ("user", "two")],
        [one, answer, ("user", "three")],
        [("user", "four")],
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/model mock-2", "mock-2 is not served: did you mean mock-1? /models"),
        ("/modle", "/modle is no command: did you mean /model"),
        ("/regenerate", "Nothing has been asked"),
        ("/undo", "Nothing has been asked"),
        ("/save", "/save FILE"),
        ("/load gone.json", "gone.json cannot be read"),
        ("/set stream false", "stream cannot be set"),
    ],
)
def test_a_script_ends_at_its_first_failure(run, engine, line, words):
    done = run(typed=f"{line}\nnever\n")

    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert not asked(engine)


def test_models_are_listed_and_switched(run):
    done = run(typed="/models\n/model mock-1\n/model\n")

    assert done.returncode == 0
    assert done.stderr == "mock-1\nModel: mock-1\nModel: mock-1\n"


def test_what_came_of_an_answer_that_breaks_off_is_shown_and_fails(run):
    done = run("--message", "Hi [[error_after=3]]")

    assert (done.returncode, done.stdout) == (1, "t0 t1 t2\n")
    assert "broke off" in done.stderr


def test_an_answer_that_is_cut_at_its_longest_is_said_to_be(run):
    done = run(typed="/set max_tokens 3\nHi\n")

    assert (done.returncode, done.stdout) == (0, "t0 t1 t2\n")
    assert "cut at its longest: /set max_tokens" in done.stderr


def test_any_servers_connection_that_breaks_is_told_with_what_came(run, engine):
    place = {"SWITCHYARD_API_BASE": f"{engine.url}/v1"}
    message = "Hi [[cut_after=3 interval_ms=5]]"
    done = run("--message", message, SWITCHYARD_API_KEY=engine.config.key, **place)

    assert (done.returncode, done.stdout) == (1, "t0 t1 t2\n")
    assert "broke off" in done.stderr


def test_a_stream_that_ends_before_the_answer_does_is_no_whole_answer():
    reader = ChunkReader()
    chunk = reader.chunk('data: {"choices": [{"delta": {"content": "Hi"}}]}')

    assert chunk is not None
    assert chunk.text == "Hi"
    assert [reader.chunk(line) for line in ("", ": queued", "event: x")] == [None] * 3
    with pytest.raises(AnswerCut):
        reader.check_end()
    reader.chunk("data: [DONE]")
    reader.check_end()


def test_a_reader_that_leaves_ends_the_engines_work(product, engine, tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "--message", "Hi [[tokens=2000 interval_ms=20]]"],
        cwd=tmp_path,
        env=environment_of(product),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.read(2) == b"t0"
        process.stdout.close()
        engine.wait_for(cancelled=1)
        complaints = process.stderr.read()

    assert (process.returncode, complaints) == (1, b"")


def test_standard_input_that_is_no_text_is_refused(product, tmp_path):
    done = subprocess.run(
        COMMAND,
        cwd=tmp_path,
        env=environment_of(product),
        input=b"\xff\xfe\n",
        capture_output=True,
        timeout=SECONDS,
    )

    assert done.returncode == 1
    assert b"what goes in and out is UTF-8" in done.stderr


def test_a_saved_conversation_is_gone_on_with(run, engine, tmp_path):
    run(typed="/system Be kind.\n/set top_p 0.5\none\n/save talk.json\n")
    engine.reset()

    done = run("--load", "talk.json", typed="two\n")

    assert done.returncode == 0
    assert asked(engine) == [
        [
            ("system", "Be kind."),
            ("user", "one"),
            ("assistant", WHOLE),
            ("user", "two"),
        ]
    ]
    assert engine.requests("/v1/chat/completions")[0].body["top_p"] == 0.5
    assert (tmp_path / "talk.json").stat().st_mode & 0o777 == 0o600


def test_the_site_takes_a_saved_conversation_and_the_terminal_an_exported_one(
    db, tmp_path
):
    talk, file = Talk("mock-1"), tmp_path / "talk.json"
    talk.ask("one")
    talk.take_answer("two")
    save(talk, file)

    summary = import_file(make_user(), io.BytesIO(file.read_bytes()))
    conversation = exports.with_messages(Conversation.objects.all()).get()
    file.write_bytes(exports.json_file([conversation]))
    loaded = load(file)

    assert (summary.num_taken, summary.num_messages) == (1, 2)
    assert conversation.title == "one"
    assert loaded.model == "mock-1"
    assert [(each.role, each.content) for each in loaded.messages] == [
        ("user", "one"),
        ("assistant", "two"),
    ]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"conversations": []}', b'{"conversations": [{"messages": 1}]}'],
)
def test_a_file_of_something_else_is_refused_by_name(tmp_path, content):
    file = tmp_path / "other.json"
    file.write_bytes(content)

    with pytest.raises(BadCommand, match=r"other\.json holds"):
        load(file)


def test_messages_whose_parents_go_in_a_circle_come_to_an_end(tmp_path):
    file = tmp_path / "circle.json"
    one = {"role": "user", "content": "1", "id": "a", "parent": "b"}
    two = {"role": "assistant", "content": "2", "id": "b", "parent": "a"}
    kept = {"messages": [one, two], "leaf": "b"}
    file.write_text(json.dumps({"conversations": [kept]}))

    assert [each.content for each in load(file).messages] == ["1", "2"]


def test_what_would_steer_the_terminal_is_left_out():
    text = "a\x1b]0;title\x07b\x9b31m\r\n\tc\x7f"

    assert harmless(text) == "a]0;titleb31m\n\tc"


def test_ctrl_c_ends_the_engines_work_and_keeps_what_came(product, engine, tmp_path):
    with running_terminal(product, tmp_path) as terminal:
        terminal.wait_for("/help lists commands")
        terminal.type_at_prompt("Hi [[tokens=2000 interval_ms=20]]\r")
        terminal.wait_for("t3")
        terminal.type("\x03")
        terminal.wait_for("Stopped.")
        totals = engine.wait_for(cancelled=1)
        terminal.type_at_prompt("/save talk.json\r")
        terminal.wait_for("Saved in talk.json")
        terminal.type_at_prompt("\x04")
        status = terminal.process.wait(SECONDS)

    assert status == 0
    # Shown behind a full line, it would begin another, and that line stand there twice.
    assert b"^C" not in terminal.all_shown
    assert (totals.started, totals.in_flight) == (1, 0)
    with running_terminal(product, tmp_path, "--load", "talk.json") as terminal:
        terminal.wait_for("> Hi")
        terminal.wait_for("t0 t1 t2 t3")
    question, answer = load(tmp_path / "talk.json").messages
    assert question.content.startswith("Hi")
    assert answer.content.startswith("t0 t1 t2 t3")
    assert "t1999" not in answer.content
    remembered = product.var_dir / "state/switchyard/chat-history"
    assert "/save talk.json" in remembered.read_text()
    assert remembered.stat().st_mode & 0o777 == 0o600


def test_at_a_terminal_a_failure_is_told_and_the_conversation_goes_on(
    product, engine, tmp_path
):
    with running_terminal(product, tmp_path, "--no-history") as terminal:
        terminal.wait_for("/help lists commands")
        terminal.type_at_prompt("/model gpt-9\r")
        terminal.wait_for("gpt-9 is not served")
        terminal.type_at_prompt("first\x1b\rsecond\r")
        terminal.wait_for("t7")
        terminal.type_at_prompt("/quit\r")
        status = terminal.process.wait(SECONDS)

    assert status == 0
    assert asked(engine) == [[("user", "first\nsecond")]]


def test_throughput_counts_the_servers_tokens_and_never_asks_more_at_once(run, engine):
    done = run(
        "throughput",
        *("--model", "mock-1", "--concurrency", "3", "--requests", "7"),
        *("--max-tokens", "5", "--prompt", "Go [[interval_ms=5]]", "--json"),
    )

    figures = msgspec.json.decode(done.stdout)
    requests = engine.requests("/v1/chat/completions")
    assert done.returncode == 0, done.stderr
    assert (figures["answered"], figures["failed"], figures["tokens"]) == (7, 0, 35)
    assert figures["tokens_counted_by"] == "the server"
    assert 0 < figures["ttft_p50_seconds"] <= figures["ttft_p95_seconds"]
    speed = figures["tokens"] / figures["seconds"]
    assert figures["tokens_per_second"] == pytest.approx(speed, rel=0.05)
    assert most_at_once(requests) == 3
    prompts = {each.body["messages"][0]["content"].split()[0] for each in requests}
    assert len(prompts) == 7


def most_at_once(requests):
    starts = [each.started_at for each in requests]
    return max(
        sum(each.started_at <= start < each.ended_at for each in requests)
        for start in starts
    )


def test_throughput_tells_failures_by_reason_and_in_no_figure(run):
    done = run("throughput", "--model", "gpt-9", "--requests", "4")

    assert done.returncode == 1
    assert "answered              0\nfailed                4\n" in done.stdout
    assert "ttft p50 seconds      none" in done.stdout
    assert "failed 4 times: 404: The model `gpt-9`" in done.stderr


@pytest.mark.parametrize("number", ["0", "513", "many"])
def test_throughput_refuses_a_load_without_bounds(run, number):
    done = run("throughput", "--model", "mock-1", "--concurrency", number)

    assert done.returncode == 2
    assert number in done.stderr


def test_where_the_server_counts_no_tokens_the_result_says_so():
    answers = [Answered(0.5, 8, True), Answered(None, 2, False)]
    figures = Measured(1, 2, 2.0, answers).figures

    assert figures["tokens_counted_by"] == "pieces of text"
    assert (figures["tokens"], figures["tokens_per_second"]) == (10, 5.0)
    assert figures["ttft_p95_seconds"] == 0.5


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile([], 50) is None
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 95) == 95.0


def test_the_terminal_loads_nothing_of_the_site():
    code = (
        "import sys, chat.terminal.command;"
        "print({name.partition('.')[0] for name in sys.modules}"
        " & {'django', 'config', 'controller', 'workers', 'openai_api', 'channels'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )

    assert done.stdout == "set()\n", done.stderr
