"""A worker that breaks off in mid-stream costs its clients a pause, not an answer.

Real engine processes and a gateway; the engines' text is a function of the prompt, so a
stream that moved must equal one that did not.
"""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import msgspec
import pytest

from controller.relay import moving, sse
from controller.relay.said import RAW_BYTES, Said
from controller.relay.splicing import SplicedReader
from tests.controller.raw_engine import STREAM, answering_once, running_raw_engine
from tests.controller.relaying import (
    CALLER,
    KEY,
    MODEL,
    gateway_before,
    is_idle,
    ledger_row,
    make_request,
    read_all,
)
from tests.mock_engine import running_mock_engine
from workers.protocol import Task

pytestmark = pytest.mark.django_db(transaction=True)

EXACTLY = {"engine": "vllm", "can_continue": True}
BY_TEXT = {"engine": "sglang", "can_continue": True}
WAYS = pytest.mark.parametrize("way", [EXACTLY, BY_TEXT], ids=["exactly", "by text"])
PACE = "interval_ms=2"


@pytest.fixture(autouse=True)
def ledger_waits(settings) -> None:
    """Nothing is written before a test asks for it."""
    settings.LEDGER_FLUSH_INTERVAL = timedelta(hours=1)


@pytest.fixture(scope="module")
def steady():
    with running_mock_engine(key=KEY, models=(MODEL,)) as engine:
        yield engine


@pytest.fixture(scope="module")
def breaking():
    """An engine that breaks off after seven tokens, whatever it is asked."""
    with running_mock_engine(key=KEY, models=(MODEL,), cut_after=7) as engine:
        yield engine


@pytest.fixture
def engines(breaking, steady):
    for engine in (breaking, steady):
        engine.reset()
    return breaking, steady


def answer(num_tokens: int) -> str:
    return " ".join(f"t{number}" for number in range(num_tokens))


def asking(text: str = f"one two [[tokens=20 {PACE}]]", **body):
    request = make_request(text, show_usage=True)
    request.body |= body
    return request


def completing(prompt, **body):
    request = make_request(show_usage=True)
    request.endpoint, request.task = "/v1/completions", Task.COMPLETIONS
    request.body = {"model": MODEL, "prompt": prompt, "stream": True, **body}
    return request


def parts_of(stream: bytes):
    """(text, events): every event that is JSON, and all of the choices' text."""
    events = sse.decode_events(stream)
    choices = [choice for event in events for choice in event.get("choices", ())]
    texts = [
        each.get("text") or each.get("delta", {}).get("content") for each in choices
    ]
    return "".join(filter(None, texts)), events


async def requests_of(engine):
    return await asyncio.to_thread(engine.requests)


# -- One answer ------------------------------------------------------------------------


@WAYS
async def test_a_moved_stream_is_one_answer(transactional_db, engines, way):
    broken, steady = engines
    request = asking()
    async with gateway_before(broken.url, steady.url, engine_key=KEY, **way) as gateway:
        exchange = await gateway.open(CALLER, request)
        stream = await read_all(exchange)

        text, events = parts_of(stream)
        row = await ledger_row(gateway)
        assert await is_idle(gateway)
    assert text == answer(20)
    assert {(each["id"], each["created"], each["model"]) for each in events} == {
        (f"chatcmpl-{request.request_id}", events[0]["created"], MODEL)
    }
    assert {each["object"] for each in events} == {"chat.completion.chunk"}
    assert stream.count(b'"role"') == 1
    assert stream.endswith(sse.DONE_EVENT)
    assert stream.count(moving.MOVING_EVENT) == 1
    assert exchange.finish_reason == "stop"
    assert (row.status, row.num_moves, row.num_retries) == (200, 1, 0)


@WAYS
async def test_usage_counts_the_prompt_once_and_every_token(
    transactional_db, engines, way
):
    urls = [engine.url for engine in engines]
    async with gateway_before(*urls, engine_key=KEY, **way) as gateway:
        stream = await read_all(await gateway.open(CALLER, asking()))
        row = await ledger_row(gateway)

    _, events = parts_of(stream)
    assert [each["usage"] for each in events if "usage" in each] == [
        {"prompt_tokens": 4, "completion_tokens": 20, "total_tokens": 24}
    ]
    assert (row.prompt_tokens, row.completion_tokens) == (4, 20)
    assert not row.tokens_estimated
    assert b'"token_ids"' not in stream


@WAYS
async def test_limits_shrink_by_what_was_said(transactional_db, engines, way):
    broken, steady = engines
    request = asking(max_tokens=15, min_tokens=10)
    async with gateway_before(broken.url, steady.url, engine_key=KEY, **way) as gateway:
        exchange = await gateway.open(CALLER, request)
        text, _ = parts_of(await read_all(exchange))

    [second] = await requests_of(steady)
    assert (second.body["max_tokens"], second.body["min_tokens"]) == (8, 3)
    assert text == answer(15)
    assert exchange.finish_reason == "length"
    assert exchange.usage.completion_tokens == 15


async def test_the_exact_way_goes_on_from_the_very_tokens(transactional_db, engines):
    broken, steady = engines
    urls = (broken.url, steady.url)
    async with gateway_before(*urls, engine_key=KEY, **EXACTLY) as gateway:
        await read_all(await gateway.open(CALLER, asking(temperature=0.5, seed=3)))

    second = (await requests_of(steady))[-1]
    assert second.path == "/v1/completions"
    assert second.body["prompt"][-7:] == list(range(7))
    assert len(second.body["prompt"]) == 4 + 7
    assert second.body["max_tokens"] == 4096 - 11  # all that there is room for
    assert (second.body["temperature"], second.body["seed"]) == (0.5, 3)
    assert "messages" not in second.body


async def test_by_the_text_the_answer_is_the_last_message(transactional_db, engines):
    broken, steady = engines
    urls = (broken.url, steady.url)
    async with gateway_before(*urls, engine_key=KEY, **BY_TEXT) as gateway:
        await read_all(await gateway.open(CALLER, asking()))

    [second] = await requests_of(steady)
    assert second.body["messages"][-1] == {"role": "assistant", "content": answer(7)}
    assert second.body["continue_final_message"] is True
    assert second.body["add_generation_prompt"] is False


@WAYS
@pytest.mark.parametrize("prompt", ["one two", [2**29 + 1, 2**29 + 2]])
async def test_a_completion_moves_too(transactional_db, engines, way, prompt):
    if way is BY_TEXT and not isinstance(prompt, str):
        pytest.skip("its prompt has no text to put the answer behind")
    broken, steady = engines
    async with gateway_before(broken.url, steady.url, engine_key=KEY, **way) as gateway:
        exchange = await gateway.open(CALLER, completing(prompt, max_tokens=12))
        text, events = parts_of(await read_all(exchange))

    assert text == answer(12)
    assert {each["object"] for each in events} == {"text_completion"}
    assert exchange.usage.prompt_tokens == 2
    assert exchange.usage.completion_tokens == 12


async def test_a_completion_of_a_default_length_keeps_it(transactional_db, engines):
    urls = [engine.url for engine in engines]
    async with gateway_before(*urls, engine_key=KEY, **EXACTLY) as gateway:
        await read_all(await gateway.open(CALLER, completing("one two")))

    [second] = await requests_of(engines[1])
    assert second.body["max_tokens"] == 16 - 7


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("t6 t7", "t0 t1 t2 t3 t4 t5 "),  # across the seam
        (["t15", "t12 t13"], answer(12) + " "),
        ("t99", answer(20)),
        (" t4 t5 t6 t7 t8 t9 t10", "t0 t1 t2 t3"),
    ],
)
async def test_text_held_back_for_a_stop_string_is_not_lost(
    transactional_db, engines, stop, text
):
    tasks = ["chat", "completions", "tokenize"]
    urls = [engine.url for engine in engines]
    async with gateway_before(*urls, tasks=tasks, engine_key=KEY, **EXACTLY) as gateway:
        exchange = await gateway.open(CALLER, asking(stop=stop))
        stream = await read_all(exchange)

        assert parts_of(stream)[0] == text
        assert exchange.finish_reason == "stop"
        assert stream.endswith(sse.DONE_EVENT)
        row = await ledger_row(gateway)
        assert (row.status, row.num_moves, row.tokens_estimated) == (200, 1, False)
        assert await is_idle(gateway)


async def test_a_stream_moves_as_often_as_is_allowed_and_no_more(transactional_db):
    async with AsyncExitStack() as stack:
        urls = []
        for _ in range(4):
            engine = running_mock_engine(key=KEY, models=(MODEL,), cut_after=3)
            urls.append(stack.enter_context(engine).url)
        gateway = await stack.enter_async_context(
            gateway_before(*urls, engine_key=KEY, **EXACTLY)
        )
        stream = await read_all(await gateway.open(CALLER, asking()))
        row = await ledger_row(gateway)

    text, events = parts_of(stream)
    assert text == answer(9)
    assert events[-1]["error"]["code"] == "upstream_error"
    assert (row.num_moves, row.status, row.completion_tokens) == (2, 502, 9)


# -- What does not move ----------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"choice": ["a"]}},
        {"tools": [{}], "tool_choice": "required"},
        {"prompt_logprobs": 1},
        {"echo": True},
    ],
)
@WAYS
async def test_some_requests_end_with_an_error_instead(
    transactional_db, engines, way, body
):
    urls = [engine.url for engine in engines]
    async with gateway_before(*urls, engine_key=KEY, **way) as gateway:
        stream = await read_all(await gateway.open(CALLER, asking(**body)))
        row = await ledger_row(gateway)

    text, events = parts_of(stream)
    assert text == answer(7)
    assert events[-1]["error"]["code"] == "upstream_error"
    assert (row.num_moves, row.status) == (0, 502)
    assert await requests_of(engines[1]) == []


@pytest.mark.parametrize("engine", ["mock", "vllm"])
async def test_an_engine_that_cannot_continue_is_not_asked_to(
    transactional_db, engines, engine
):
    urls = [each.url for each in engines]
    async with gateway_before(*urls, engine_key=KEY, engine=engine) as gateway:
        stream = await read_all(await gateway.open(CALLER, asking()))

    assert b"upstream_error" in stream
    assert await requests_of(engines[1]) == []


async def test_a_stream_that_is_too_long_to_be_remembered_does_not_move(
    transactional_db, engines, settings
):
    settings.MOVE_MAX_BYTES = 60
    urls = [engine.url for engine in engines]
    async with gateway_before(*urls, engine_key=KEY, **EXACTLY) as gateway:
        stream = await read_all(await gateway.open(CALLER, asking()))

    assert b"upstream_error" in stream


def event(delta: dict, **choice) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": None} | choice]
    content = {"id": "chatcmpl-1", "created": 1, "model": "m", "choices": choices}
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


def cut_stream(*events: bytes):
    """An engine that says this and closes the connection before the end."""
    head = STREAM + b"transfer-encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(each), each) for each in events]
    return answering_once(head, *chunks)


ROLE = event({"role": "assistant", "content": ""})


@pytest.mark.parametrize(
    "part",
    [
        event({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
        event({"reasoning": "Let me think"}),
        event({"reasoning_content": "Let me think"}),
    ],
)
@WAYS
async def test_a_part_that_is_open_does_not_move(transactional_db, steady, way, part):
    async with (
        running_raw_engine(cut_stream(ROLE, part)) as raw,
        gateway_before(raw.url, steady.url, engine_key=KEY, **way) as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, asking()))

    assert sse.decode_events(stream)[-1]["error"]["code"] == "upstream_error"


# -- What makes a stream move ----------------------------------------------------------


@asynccontextmanager
async def moved_from(engine_url: str, steady, **way):
    """A gateway whose first worker is that, and whose second is a steady engine."""
    steady.reset()
    way = way or EXACTLY
    async with gateway_before(engine_url, steady.url, engine_key=KEY, **way) as gateway:
        yield gateway


async def test_an_answer_that_has_only_its_role_begins_again(transactional_db, steady):
    async with (
        running_raw_engine(cut_stream(ROLE)) as raw,
        moved_from(raw.url, steady, engine="mock") as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, asking()))

    text, events = parts_of(stream)
    assert text == answer(20)
    assert stream.count(b'"role"') == 1
    assert {each["id"] for each in events} == {"chatcmpl-1"}


@pytest.mark.parametrize(
    "wrong",
    [
        b"data: " + b'{"usage": \xff\x00\n\n',
        b"<html><body>502 Bad Gateway</body></html>\n\n",
        b'data: {"error": {"message": "engine died", "code": 500}}\n\n',
        event({"content": ""}, finish_reason="abort"),
        b"data: " + b"x" * 5000,
    ],
    ids=["garbage", "html", "error event", "abort", "endless event"],
)
async def test_what_is_wrong_in_mid_stream_costs_a_move(
    transactional_db, steady, settings, wrong
):
    settings.MAX_EVENT_BYTES = 2000
    begun = [event({"content": text}) for text in ("t0", " t1")]
    async with (
        running_raw_engine(cut_stream(ROLE, *begun, wrong)) as raw,
        moved_from(raw.url, steady, **BY_TEXT) as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, asking()))
        row = await ledger_row(gateway)

    assert parts_of(stream)[0] == answer(20)
    assert (row.status, row.num_moves) == (200, 1)
    # Of the first engine's tokens only the events were seen.
    assert (row.completion_tokens, row.tokens_estimated) == (20, True)


async def test_an_error_about_the_request_itself_does_not_move(
    transactional_db, steady
):
    message = "This model's maximum context length is 10 tokens. However, ..."
    content = {"error": {"message": message, "code": 400}}
    error = b"data: " + msgspec.json.encode(content) + b"\n\n"
    async with (
        running_raw_engine(cut_stream(ROLE, event({"content": "t0"}), error)) as raw,
        moved_from(raw.url, steady) as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, asking()))

    [*_, last] = sse.decode_events(stream)
    assert last["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("show_usage", [True, False])
async def test_an_answer_that_lacks_only_its_ending_is_given_one(
    transactional_db, steady, show_usage
):
    ids = {"token_ids": [1]}
    said = event({"content": "a"}, **ids) + event({}, finish_reason="stop", **ids)
    begun = ROLE.replace(b'"choices"', b'"prompt_token_ids":[7,8,9],"choices"')
    request = asking()
    request.show_usage = show_usage
    async with (
        running_raw_engine(cut_stream(begun + said)) as raw,
        moved_from(raw.url, steady) as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, request))
        row = await ledger_row(gateway)

    assert stream.endswith(sse.DONE_EVENT)
    assert (row.status, row.num_moves) == (200, 0)
    assert (row.prompt_tokens, row.completion_tokens) == (3, 2)
    usages = [each.get("usage") for each in sse.decode_events(stream)]
    assert (usages[-1] is not None) is show_usage


async def test_of_several_answers_one_that_is_complete_is_not_all(
    transactional_db, steady
):
    said = event({"content": "a"}, finish_reason="stop")
    async with (
        running_raw_engine(cut_stream(said + event({"content": "b"}, index=1))) as raw,
        moved_from(raw.url, steady) as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, asking(n=2)))

    assert sse.decode_events(stream)[-1]["error"]["code"] == "upstream_error"


@WAYS
async def test_a_stream_that_stands_still_moves(
    transactional_db, steady, settings, way
):
    settings.MOVE_AFTER_SILENCE = timedelta(seconds=0.2)
    with running_mock_engine(key=KEY, models=(MODEL,), hang_after=7) as hanging:
        async with moved_from(hanging.url, steady, **way) as gateway:
            stream = await read_all(await gateway.open(CALLER, asking()))

            assert parts_of(stream)[0] == answer(20)
            await asyncio.to_thread(hanging.wait_for, cancelled=1)
            assert (await ledger_row(gateway)).num_moves == 1


async def test_a_stream_that_has_nowhere_to_go_is_waited_for(
    transactional_db, settings
):
    settings.MOVE_AFTER_SILENCE = timedelta(seconds=0.1)
    settings.UPSTREAM_IDLE_TIMEOUT = timedelta(seconds=1.5)
    with running_mock_engine(key=KEY, models=(MODEL,), hang_after=7) as hanging:
        async with gateway_before(hanging.url, engine_key=KEY, **EXACTLY) as gateway:
            stream = await read_all(await gateway.open(CALLER, asking()))

    assert sse.decode_events(stream)[-1]["error"]["code"] == "upstream_timeout"


async def test_a_stream_whose_worker_is_silent_as_a_whole_moves_sooner(
    transactional_db, steady, settings
):
    settings.HEARTBEAT_EXPIRY = timedelta(seconds=0.6)
    with running_mock_engine(key=KEY, models=(MODEL,), hang_after=7) as hanging:
        async with moved_from(hanging.url, steady) as gateway:
            beating = asyncio.create_task(keep_live(gateway, steady))
            stream = await read_all(await gateway.open(CALLER, asking()))
            beating.cancel()

            assert parts_of(stream)[0] == answer(20)
            assert (await ledger_row(gateway)).num_moves == 1


async def keep_live(gateway, engine):
    """Hear of this engine's worker again and again, and of no other."""
    [load] = [
        gateway.fleet.loads[worker.id]
        for worker in gateway.fleet.snapshot.workers.values()
        if worker.address == engine.url
    ]
    while True:
        load.heard_at = gateway.fleet.clock.now()
        await asyncio.sleep(0.05)


# -- Endings ---------------------------------------------------------------------------


async def test_when_nobody_can_go_on_the_cut_itself_is_told(transactional_db, engines):
    with running_mock_engine(key=KEY, models=(MODEL,), status=500) as refusing:
        urls = (engines[0].url, refusing.url)
        async with gateway_before(*urls, engine_key=KEY, **EXACTLY) as gateway:
            request = asking("one two [[tokens=20]]")
            stream = await read_all(await gateway.open(CALLER, request))

            assert parts_of(stream)[0] == answer(7)
            errors = [each for each in sse.decode_events(stream) if "error" in each]
            assert [each["error"]["code"] for each in errors] == ["upstream_error"]
            row = await ledger_row(gateway)
            assert (row.status, row.completion_tokens) == (502, 7)
            assert await is_idle(gateway)


@pytest.mark.parametrize("how", ["interrupted", "left", "closed between"])
async def test_a_stream_can_end_while_it_moves(transactional_db, engines, how):
    with running_mock_engine(key=KEY, models=(MODEL,), first_ms=60_000) as slow:
        urls = (engines[0].url, slow.url)
        async with gateway_before(*urls, engine_key=KEY, **EXACTLY) as gateway:
            exchange = await gateway.open(CALLER, asking())
            while moving.MOVING_EVENT not in await exchange.read():
                pass
            if how != "closed between":
                reading = asyncio.create_task(exchange.read())
                await asyncio.to_thread(slow.wait_for, started=1)
            if how == "interrupted":
                gateway.interrupt()
                [last] = sse.decode_events(await reading)
                assert last["error"]["code"] == "shutting_down"
            if how == "left":
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            await exchange.aclose()

            if how != "closed between":
                await asyncio.to_thread(slow.wait_for, cancelled=1)
            assert (await ledger_row(gateway)).completion_tokens == 7
            assert await is_idle(gateway)


async def test_a_server_that_stops_moves_no_more_streams(transactional_db, engines):
    urls = [engine.url for engine in engines]
    async with gateway_before(*urls, engine_key=KEY, **EXACTLY) as gateway:
        exchange = await gateway.open(CALLER, asking())
        while moving.MOVING_EVENT not in await exchange.read():
            pass

        gateway.interrupt()
        [last] = sse.decode_events(await exchange.read())
        await exchange.aclose()

    assert last["error"]["code"] == "shutting_down"
    assert await requests_of(engines[1]) == []


async def test_many_streams_move_at_once_and_leave_nothing_behind(
    transactional_db, engines
):
    async def one(number: int) -> str:
        request = asking(f"one [[tokens={30 + number % 9} {PACE}]]")
        return parts_of(await read_all(await gateway.open(CALLER, request)))[0]

    urls = [engine.url for engine in engines]
    async with gateway_before(*urls, engine_key=KEY, **EXACTLY) as gateway:
        texts = await asyncio.gather(*map(one, range(60)))
        assert await is_idle(gateway)

    assert texts == [answer(30 + number % 9) for number in range(60)]


# -- What is spliced in ---------------------------------------------------------------


@pytest.fixture
def spliced():
    """A reader of what comes after the text "a", whose id was "first"."""
    said = Said(limit=10_000)
    said.remember(ROLE.replace(b"chatcmpl-1", b"first") + event({"content": "a"}))
    said.read()
    request = asking()
    question = moving.by_the_text(request, said)
    said.goes_on(question.num_done)
    return SplicedReader(request, said, question)


def test_a_second_role_is_left_out_even_beside_text(spliced):
    shown = spliced.read_block(event({"role": "assistant", "content": "b"}), "vllm")

    [only] = sse.decode_events(shown)
    assert only["id"] == "first"
    assert only["choices"][0]["delta"] == {"content": "b"}


@pytest.mark.parametrize(
    "failure", [event({}, finish_reason="abort"), b"data: {nonsense\n\n"]
)
def test_what_the_second_engine_said_before_it_failed_goes_out(spliced, failure):
    shown = spliced.read_block(event({"content": "b"}) + failure, "vllm")

    assert len(sse.decode_events(shown)) == 1
    assert spliced.error.status == 502


def test_scores_of_a_completion_are_placed_behind_what_was_said():
    said = Said(limit=10_000)
    said.remember(event({}, text="abc", token_ids=[1], prompt_token_ids=[9]))
    said.read()
    request = completing("p")
    question = moving.exactly(request, said, 100, held="", num_done=1)
    said.goes_on(1)
    reader = SplicedReader(request, said, question)
    scores = {"text_offset": [0], "tokens": ["d"]}

    shown = reader.read_block(event({}, text="d", logprobs=scores), "vllm")

    [only] = sse.decode_events(shown)
    assert only["choices"][0]["logprobs"]["text_offset"] == [3]


# -- What is remembered ----------------------------------------------------------------


def test_what_is_remembered_is_bounded_however_long_the_stream():
    said = Said(limit=10_000)
    sizes = []
    for _ in range(3000):
        said.remember(event({"content": "word"}, token_ids=[12345]))
        sizes.append(said._raw_bytes)

    assert max(sizes) <= RAW_BYTES + 1000
    said.read()
    assert said.why_not == "it is too long to be remembered"
    assert not said.text
    assert not said.ids


def test_tokens_behind_the_last_text_are_half_a_letter_and_generated_anew():
    said = Said(limit=10_000)
    said.remember(event({"content": "a"}, token_ids=[1]))
    said.remember(event({"content": "é"}, token_ids=[2, 3]))
    said.remember(event({"content": ""}, token_ids=[4]))
    said.read()
    said.goes_on(said.num_shown)

    assert (list(said.ids), said.num_tokens) == ([1, 2, 3], 3)


@pytest.mark.parametrize(
    ("detokenized", "said", "held"),
    [
        ("one two", "one", " two"),
        ("one two", " one", " two"),  # the tokenizer leaves out the first space
        ("one two \ufffd", "one", None),
        ("another", "one", None),
    ],
)
def test_text_held_back_is_what_the_tokens_say_beyond(detokenized, said, held):
    answered = msgspec.json.encode({"prompt": detokenized})

    assert moving.held_back(answered, said) == held
