"""A model worker whose engine is vLLM: `python -m workers.vllm_worker`.

Takes the seed system's flags and every flag of vLLM's own server; what is not ours
is handed through. On a machine without a GPU it chooses the settings that make vLLM
fast there, which its defaults do not; a flag or variable that was given wins.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil

from workers import cpu
from workers.agent import run_worker
from workers.config import WorkerConfig, add_worker_arguments
from workers.engine_process import EngineCommand, import_folder
from workers.errors import BadSetting
from workers.supervisor import Engine

VLLM_PYTHON = Path(".venv-vllm/bin/python")
GUARD = "workers.engine_guard.RequireKey"
DEFAULT_CONCURRENCY = 256  # vLLM's own default of sequences at once, on a GPU
CPU_CONCURRENCY = 32
GIB = 1024**3
MAX_CPU_CACHE_GIB = 8
OURS = {
    "--api-key": "the agent makes the engine's key; see --api-key-file",
    "--uds": "the controller reaches engines over TCP; see --host and --port",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workers.vllm_worker",
        description="Serve a model with vLLM; flags not listed here go to vLLM.",
        allow_abbrev=False,  # an abbreviation of ours may be a whole flag of vLLM's
    )
    add_worker_arguments(parser)
    parser.add_argument("--engine-python", help="Python that has vLLM installed")
    parser.add_argument("--num-gpus", type=int, help="vLLM's --tensor-parallel-size")
    parser.add_argument("--served-model-name", nargs="+", help="same as --model-names")
    arguments, for_vllm = parser.parse_known_args()
    if arguments.served_model_name and not arguments.model_names:
        arguments.model_names = ",".join(arguments.served_model_name)
    return run_worker(
        arguments,
        partial(
            vllm_engine,
            python=arguments.engine_python,
            num_gpus=arguments.num_gpus,
            for_vllm=for_vllm,
        ),
    )


def vllm_engine(
    config: WorkerConfig,
    host: str,
    port: int,
    state_dir: Path,
    *,
    python: str | None = None,
    num_gpus: int | None = None,
    for_vllm: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Engine:
    """Return the engine that serves the model of `config` at `host` and `port`."""
    for flag, reason in OURS.items():
        if _has_flag(for_vllm, flag):
            raise BadSetting(f"{flag} cannot be given: {reason}.")
    python = python or (str(VLLM_PYTHON) if VLLM_PYTHON.exists() else sys.executable)
    flags = list(for_vllm)
    variables = {
        "PYTHONPATH": _joined(import_folder(state_dir), environment.get("PYTHONPATH")),
        "VLLM_NO_USAGE_STATS": "1",
    }
    if config.dtype:
        flags += ["--dtype", config.dtype]
    if num_gpus and num_gpus > 1:
        flags += ["--tensor-parallel-size", str(num_gpus)]
    if Path(config.model_path).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    if not _has_flag(flags, "--disable-access-log-for-endpoints"):
        flags += ["--disable-access-log-for-endpoints", "/health,/metrics"]  # ours
    on_cpu = config.device == "cpu" or not cpu.has_nvidia_gpu() or _is_cpu_build(python)
    if on_cpu:
        flags += _cpu_flags(flags)
        variables |= _cpu_variables(Path(python), flags, environment)
    if config.max_concurrency and not _has_flag(flags, "--max-num-seqs"):
        flags += ["--max-num-seqs", str(config.max_concurrency)]
    for name in variables.keys() & environment.keys() - {"PYTHONPATH", "LD_PRELOAD"}:
        del variables[name]  # what was given wins
    server = [python, "-m", "vllm.entrypoints.openai.api_server"]
    where = ["--host", host, "--port", str(port)]
    model = ["--model", config.model_path, "--served-model-name", *config.names]
    # vLLM wraps each --middleware around those before it: ours last is the outermost.
    arguments = [*server, *model, *where, *flags, "--middleware", GUARD]
    default_concurrency = CPU_CONCURRENCY if on_cpu else DEFAULT_CONCURRENCY
    concurrency = _flag_value(flags, "--max-num-seqs") or default_concurrency
    return Engine(
        name="vllm",
        command=EngineCommand(arguments=arguments, environment=variables),
        max_concurrency=config.max_concurrency or int(concurrency),
    )


def _cpu_flags(given: Sequence[str]) -> list[str]:
    """Return the flags that make vLLM quick to start and to answer on a CPU."""
    flags = []
    if not _has_flag(given, "--dtype") and not cpu.has_fast_bfloat16():
        flags += ["--dtype", "float32"]  # emulated bfloat16 is several times slower
    if not any(_has_flag(given, flag) for flag in ("--enforce-eager", "-O")):
        flags += ["--enforce-eager"]  # else it compiles for minutes before it serves
    return flags


def _cpu_variables(
    python: Path, flags: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that bind vLLM's threads and bound its memory on a CPU."""
    available_gib = psutil.virtual_memory().available // GIB
    cache_gib = max(1, min(MAX_CPU_CACHE_GIB, available_gib // 8))
    variables = {"VLLM_CPU_KVCACHE_SPACE": str(cache_gib)}
    is_one_rank = _flag_value(flags, "--tensor-parallel-size") in (None, "1")
    if is_one_rank and cpu.num_memory_nodes() == 1:
        # vLLM's choice leaves a core idle; with several nodes or ranks it knows best.
        variables["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cpu.usable_cpus()))
    library = python.absolute().parent.parent / "lib" / "libiomp5.so"
    if library.exists() and "libiomp" not in environment.get("LD_PRELOAD", ""):
        variables["LD_PRELOAD"] = _joined(library, environment.get("LD_PRELOAD"))
        # Its threads else spin for 200 ms after each step, on cores that others want.
        variables["KMP_BLOCKTIME"] = "0"
    return variables


def _is_cpu_build(python: str) -> bool:
    packages = Path(python).absolute().parent.parent.glob("lib/python*/site-packages")
    return any(any(folder.glob("vllm_cpu-*.dist-info")) for folder in packages)


def _has_flag(flags: Sequence[str], name: str) -> bool:
    return any(_spelled_plainly(flag) == name for flag in flags)


def _flag_value(flags: Sequence[str], name: str) -> str | None:
    """Return what follows the last `name`, as `--name value` or `--name=value`."""
    value = None
    for position, flag in enumerate(flags):
        if _spelled_plainly(flag) == name:
            _, equals, inline = flag.partition("=")
            following = flags[position + 1 : position + 2]
            value = inline if equals else next(iter(following), None)
    return value


def _spelled_plainly(flag: str) -> str:
    """Return a flag's name as vLLM reads it: with dashes, without its value."""
    name = flag.partition("=")[0]
    return name.replace("_", "-") if name.startswith("--") else name


def _joined(first: Path, rest: str | None) -> str:
    return os.pathsep.join(filter(None, (str(first.absolute()), rest)))


if __name__ == "__main__":
    raise SystemExit(main())
