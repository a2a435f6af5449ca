import argparse
import json
from pathlib import Path

import pytest

from workers.config import WorkerConfig, add_worker_arguments, worker_config
from workers.errors import BadSetting
from workers.model_worker import EngineOptions, transformers_engine


def config_of(*flags: str, **environment: str) -> WorkerConfig:
    parser = argparse.ArgumentParser()
    add_worker_arguments(parser)
    arguments = parser.parse_args(["--model-path", "models/Tiny-1B", *flags])
    return worker_config(arguments, environment)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_served_name_is_the_folders_unless_names_are_given() -> None:
    assert config_of().names == ("Tiny-1B",)
    assert config_of("--model-names", "tiny, t1").names == ("tiny", "t1")


def test_a_name_that_no_client_could_send_is_refused() -> None:
    with pytest.raises(BadSetting, match="--model-names"):
        config_of("--model-names", "tiny,no good")


def test_the_controller_is_found_by_flag_then_variable_then_file() -> None:
    Path("var").mkdir()
    Path("var/credentials.json").write_text(
        json.dumps({"base_url": "http://127.0.0.1:8123"})
    )
    variable = {"SWITCHYARD_CONTROLLER": "from-variable:1"}

    flag = config_of("--controller-address", "from-flag:1", **variable)
    assert flag.controller == "http://from-flag:1"
    assert config_of(**variable).controller == "http://from-variable:1"
    assert config_of().controller == "http://127.0.0.1:8123"


def test_without_any_of_them_the_controller_is_on_this_machine() -> None:
    assert config_of().controller == "http://localhost:8000"


def test_no_register_means_no_controller() -> None:
    assert config_of("--no-register").controller is None


def test_the_token_file_is_read_anew_each_time() -> None:
    token = config_of("--join-token-file", "token").token

    assert token.read() is None
    Path("token").write_text("first\n")
    assert token.read() == "first"
    Path("token").write_text("second\n")
    assert token.read() == "second"


def test_a_token_file_wins_over_the_variable() -> None:
    Path("token").write_text("from-file")
    variable = {"SWITCHYARD_JOIN_TOKEN": "from-variable"}

    assert config_of(**variable).token.read() == "from-variable"
    given = config_of("--join-token-file", "token", **variable)
    assert given.token.read() == "from-file"


def test_no_flag_takes_the_token_itself() -> None:
    parser = argparse.ArgumentParser()
    add_worker_arguments(parser)

    assert "--join-token " not in parser.format_help()


def test_labels_are_pairs() -> None:
    assert config_of("--labels", "zone=a, gpu=h100").labels == {
        "zone": "a",
        "gpu": "h100",
    }
    with pytest.raises(BadSetting, match="zone"):
        config_of("--labels", "zone")


def test_a_key_file_without_no_register_is_refused() -> None:
    with pytest.raises(BadSetting, match="--no-register"):
        config_of("--api-key-file", "key")


@pytest.mark.parametrize("flag", ["--limit-worker-concurrency", "--weight"])
def test_a_number_that_makes_no_sense_is_refused_by_its_flag(flag: str) -> None:
    with pytest.raises(BadSetting, match=flag):
        config_of(flag, "0")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--port", "70000"),
        ("--port", "0"),
        ("--agent-port", "-1"),
        ("--weight", "1001"),
        ("--weight", "inf"),
        ("--drain-seconds", "-1"),
        ("--drain-seconds", "nan"),
    ],
)
def test_a_number_that_nothing_can_be_done_with_is_refused_at_the_start(
    flag: str, value: str
) -> None:
    with pytest.raises(BadSetting, match=f"{flag} {value}"):
        config_of(flag, value)


@pytest.mark.parametrize("path", ["/no/such/model", "./none", "~/none"])
def test_a_path_that_leads_nowhere_is_refused_before_an_engine_is_tried(
    path: str,
) -> None:
    with pytest.raises(BadSetting, match=f"--model-path {path}: there is no such"):
        config_of("--model-path", path)


def test_a_name_on_the_model_hub_is_the_engines_to_find() -> None:
    assert config_of("--model-path", "org/model").model_path == "org/model"


def test_all_that_join_token_prints_may_be_kept_as_the_token() -> None:
    printed = "New one-time join token, shown once: sy-join-abc\n"
    token = config_of("--join-token-file", "token").token

    Path("token").write_text(printed)
    assert token.read() == "sy-join-abc"
    Path("token").write_text(printed, encoding="utf-8-sig")
    assert token.read() == "sy-join-abc"


def test_a_token_file_that_is_no_text_holds_no_token() -> None:
    token = config_of("--join-token-file", "token").token

    Path("token").write_bytes(bytes(range(256)))

    assert token.read() is None


def test_a_token_file_that_cannot_be_read_is_told_from_none() -> None:
    token = config_of("--join-token-file", "token").token
    assert token.why_unreadable() == ""

    Path("token").mkdir()

    assert token.read() is None
    assert token.why_unreadable() == "the file token cannot be read: Is a directory"


def test_two_models_of_one_process_need_two_names(tmp_path: Path) -> None:
    paths = ("/models/one/model", "/models/two/model")
    options = EngineOptions(paths=paths, names=("model", "model"))

    with pytest.raises(BadSetting, match="Two models would be called 'model'"):
        transformers_engine(config_of(), "127.0.0.1", 21002, tmp_path, options=options)
