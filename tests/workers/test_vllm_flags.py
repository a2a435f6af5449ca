from pathlib import Path
from typing import Any

import pytest

from workers import cpu
from workers.config import WorkerConfig
from workers.errors import BadSetting
from workers.supervisor import Engine
from workers.vllm_worker import vllm_engine


@pytest.fixture(autouse=True)
def on_a_cpu_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(cpu, "has_fast_bfloat16", lambda: False)
    monkeypatch.setattr(cpu, "num_memory_nodes", lambda: 1)
    monkeypatch.setattr(cpu, "usable_cpus", lambda: [0, 2])


def engine(
    folder: Path,
    *for_vllm: str,
    environment: dict[str, str] | None = None,
    num_gpus: int | None = None,
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
        num_gpus=num_gpus,
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


def test_a_gpu_gets_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "has_nvidia_gpu", lambda: True)

    made = engine(tmp_path)

    assert "--enforce-eager" not in made.command.arguments
    assert "VLLM_CPU_OMP_THREADS_BIND" not in made.command.environment


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
