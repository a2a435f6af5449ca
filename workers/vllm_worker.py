"""A model worker whose engine is vLLM: `python -m workers.vllm_worker`.

Takes FastChat's flags and every flag of vLLM's own server; what is not ours is handed
through. On a machine without a GPU it chooses the settings that make vLLM
fast there, which its defaults do not; a flag or variable that was given wins.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from workers import container, cpu
from workers.adapter_sources import AdapterSources
from workers.agent import run_worker
from workers.config import WorkerConfig, add_worker_arguments
from workers.engine_process import EngineCommand, import_folder
from workers.errors import BadSetting
from workers.modalities import CONFIGURATIONS, TEXT_ONLY, modalities_of
from workers.supervisor import Engine
from workers.vllm_flags import (
    flag_value,
    has_flag,
    installed_build,
    installed_flags,
    spelled_plainly,
    translated,
)

VLLM_PYTHON = Path(".venv-vllm/bin/python")
GUARD = "workers.engine_guard.RequireKey"
DEFAULT_CONCURRENCY = 256  # vLLM's own default of sequences at once, on a GPU
CPU_CONCURRENCY = 32
GIB = 1024**3
MAX_CPU_CACHE_GIB = 8
OURS = {
    "--api-key": "the agent makes the engine's key; see --api-key-file",
    "--uds": "the controller reaches engines over TCP; see --host and --port",
    "--grpc": "the controller speaks HTTP with engines",
    "--headless": (
        "a worker is where the API is; on the other hosts run `vllm serve --headless`"
    ),
    "--disable-log-stats": "dispatch and drain go by the engine's numbers",
}
ADDED_TO = {"PYTHONPATH", "LD_PRELOAD"}
# By a flag, or because two locks need two keys: what the environment has is not asked.
DECIDED = {"CUDA_VISIBLE_DEVICES", "VLLM_API_KEY"}
OF_CONFIGURATION = ("--hf-config-path", "--config-format")  # it is found otherwise
RUNTIME_LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
SERVER = "vllm.entrypoints.openai.api_server"
NO_VLLM = 3
LOOK_FOR_VLLM = f"""
from importlib.util import find_spec
raise SystemExit(0 if find_spec("vllm") else {NO_VLLM})
"""
# Whoever gives one of these has decided how vLLM is to be compiled.
OF_COMPILATION = (
    *("--enforce-eager", "--no-enforce-eager", "--optimization-level"),
    *("--compilation-config", "-cc", "-O"),
)
RANKS = (
    *("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp"),
    *("--data-parallel-size", "-dp"),
)


def main() -> int:
    arguments, for_vllm = _parser().parse_known_args()
    python = _engine_python(arguments.engine_python)
    if arguments.served_model_name and not arguments.model_names:
        arguments.model_names = ",".join(arguments.served_model_name)
    if arguments.conv_template:
        for_vllm += ["--conv-template", arguments.conv_template]

    def make_engine(
        config: WorkerConfig, host: str, port: int, state_dir: Path
    ) -> Engine:
        expect_vllm(python)
        expect_model(config.model_path, for_vllm)
        return vllm_engine(
            config,
            host,
            port,
            state_dir,
            python=python,
            gpus=arguments.gpus,
            num_gpus=arguments.num_gpus,
            adapter_root=arguments.adapter_root,
            for_vllm=for_vllm,
        )

    return run_worker(arguments, make_engine)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers.vllm_worker",
        description="Serve a model with vLLM; flags not listed here go to vLLM.",
        allow_abbrev=False,  # an abbreviation of ours may be a whole flag of vLLM's
        add_help=False,
    )
    add = parser.add_argument
    add("--engine-python", help=f"Python that has vLLM (default: {VLLM_PYTHON})")
    add(
        *("-h", "--help"),
        action=_Help,
        nargs="?",
        metavar="WHAT",
        help="this; --help=all shows vLLM's flags, --help=lora those with that word",
    )
    add_worker_arguments(parser)
    add("--gpus", help="the GPUs to use, as 0,1 (CUDA_VISIBLE_DEVICES)")
    add("--num-gpus", type=int, help="vLLM's --tensor-parallel-size")
    add("--served-model-name", nargs="+", help="same as --model-names")
    add(
        "--adapter-root",
        type=Path,
        help="with --enable-lora: take adapters from this folder and no other place",
    )
    add("--conv-template", help="file of a chat template, vLLM's --chat-template")
    return parser


class _Help(argparse.Action):
    """Prints our flags, or what vLLM itself says of its own."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        if values is None:
            parser.print_help()
            parser.exit()
        python = _engine_python(namespace.engine_python)
        try:
            # Without its warnings that this is not the usual way to start it.
            done = subprocess.run(
                [python, "-W", "ignore", "-m", SERVER, f"--help={values}"],
                env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
                check=False,
            )
        except OSError as error:
            parser.error(f"--engine-python {python}: {error.strerror}")
        parser.exit(done.returncode)


def _engine_python(given: str | None) -> str:
    """Return the Python with vLLM, as a path where a name was given."""
    if given:
        return shutil.which(given) or given
    return str(VLLM_PYTHON) if VLLM_PYTHON.exists() else sys.executable


def expect_vllm(python: str) -> None:
    """Raise `BadSetting` unless `python` can be run and has vLLM."""
    try:
        looked = subprocess.run([python, "-c", LOOK_FOR_VLLM], check=False)
    except OSError as error:
        raise BadSetting(f"--engine-python {python}: {error.strerror}.") from error
    if looked.returncode == NO_VLLM:
        raise BadSetting(
            f"{python} has no vLLM. `make environment-vllm` puts it into {VLLM_PYTHON},"
            " where it is found; or name a Python that has it: --engine-python."
        )


def expect_model(path: str, flags: Sequence[str]) -> None:
    """Raise `BadSetting` for a folder that says nothing of a model, which vLLM would
    find out, three times, after half a minute each."""
    folder = Path(path)
    if not folder.is_dir() or any(has_flag(flags, flag) for flag in OF_CONFIGURATION):
        return
    if not any((folder / name).is_file() for name in CONFIGURATIONS):
        raise BadSetting(
            f"--model-path {path} has no {' or '.join(CONFIGURATIONS)}: it is no model."
        )


def vllm_engine(
    config: WorkerConfig,
    host: str,
    port: int,
    state_dir: Path,
    *,
    python: str,
    gpus: str | None = None,
    num_gpus: int | None = None,
    adapter_root: Path | None = None,
    for_vllm: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Engine:
    """Return the engine that serves the model of `config` at `host` and `port`."""
    on_cpu = config.device == "cpu" or _is_for_cpus(python, environment)
    flags = _flags(config, for_vllm, python, num_gpus, on_cpu=on_cpu)
    variables = {
        "PYTHONPATH": _joined(import_folder(state_dir), environment.get("PYTHONPATH")),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_API_KEY": "",
    }
    if gpus is not None:
        variables["CUDA_VISIBLE_DEVICES"] = _checked(gpus, num_gpus)
    adapter_sources = _adapter_sources(python, adapter_root, flags, environment)
    if adapter_sources is not None:
        variables[RUNTIME_LORA] = "True"
    if Path(config.model_path).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    if on_cpu:
        variables |= _cpu_variables(Path(python), flags, environment)
    for name in variables.keys() & environment.keys() - ADDED_TO - DECIDED:
        del variables[name]  # what was given wins
    server = [python, "-m", SERVER]
    where = ["--host", host, "--port", str(port)]
    model = ["--model", config.model_path, "--served-model-name", *config.names]
    # vLLM wraps each --middleware around those before it: ours last is the outermost.
    arguments = [*server, *model, *where, *flags, "--middleware", GUARD]
    default_concurrency = CPU_CONCURRENCY if on_cpu else DEFAULT_CONCURRENCY
    return Engine(
        name="vllm",
        command=EngineCommand(arguments=arguments, environment=variables),
        max_concurrency=config.max_concurrency
        or _number(flags, "--max-num-seqs")
        or default_concurrency,
        adapter_sources=adapter_sources,
        modalities=partial(_modalities, config.model_path, flags, environment),
    )


def _flags(
    config: WorkerConfig,
    for_vllm: Sequence[str],
    python: str,
    num_gpus: int | None,
    *,
    on_cpu: bool,
) -> list[str]:
    """Return the flags given for vLLM, as the installed one has them, and ours.

    Raises `BadSetting` for those that are the agent's to set.
    """
    for flag, reason in OURS.items():
        if has_flag(for_vllm, flag):
            raise BadSetting(f"{flag} cannot be given: {reason}.")
    flags = translated(for_vllm, installed_flags(python))
    if config.certificate:
        flags += config.certificate.flags
    if config.dtype:
        flags += ["--dtype", config.dtype]
    if num_gpus and num_gpus > 1:
        flags += ["--tensor-parallel-size", str(num_gpus)]
    if not has_flag(flags, "--disable-access-log-for-endpoints"):
        flags += ["--disable-access-log-for-endpoints", "/health,/metrics"]  # ours
    if on_cpu:
        flags += _cpu_flags(flags)
    if config.max_concurrency and not has_flag(flags, "--max-num-seqs"):
        flags += ["--max-num-seqs", str(config.max_concurrency)]
    return flags


def _modalities(
    model_path: str, flags: Sequence[str], environment: Mapping[str, str]
) -> Sequence[str]:
    """Return what vLLM lets the model take in."""
    if has_flag(flags, "--language-model-only"):
        return TEXT_ONLY
    return modalities_of(model_path, environment)


def _adapter_sources(
    python: str,
    root: Path | None,
    flags: Sequence[str],
    environment: Mapping[str, str],
) -> AdapterSources | None:
    """Return where adapters may come from; None if vLLM is to load none by itself.

    vLLM's own variable wins: it is how LoRA is kept to the command line's adapters.
    """
    given = environment.get(RUNTIME_LORA)
    is_wished = has_flag(flags, "--enable-lora")
    if given is not None:
        is_wished = given.strip().lower() in ("1", "true")
    if root is not None and not is_wished:
        raise BadSetting(f"--adapter-root {root} needs --enable-lora.")
    if root is not None and not root.is_dir():
        raise BadSetting(f"--adapter-root {root} is no folder on this machine.")
    return AdapterSources(root=root, python=python) if is_wished else None


def _checked(gpus: str, num_gpus: int | None) -> str:
    if num_gpus and num_gpus > len(gpus.split(",")):
        raise BadSetting(f"--num-gpus {num_gpus} is more than --gpus {gpus} names.")
    return gpus


def _cpu_flags(given: Sequence[str]) -> list[str]:
    """Return the flags that make vLLM quick to start and to answer on a CPU."""
    flags = []
    if not has_flag(given, "--dtype") and not cpu.has_fast_bfloat16():
        flags += ["--dtype", "float32"]  # emulated bfloat16 is several times slower
    if not any(flag.startswith(OF_COMPILATION) for flag in map(spelled_plainly, given)):
        flags += ["--enforce-eager"]  # else it compiles for minutes before it serves
    return flags


def _cpu_variables(
    python: Path, flags: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that bind vLLM's threads and bound its memory on a CPU."""
    available_gib = container.available_memory() // GIB
    cache_gib = max(1, min(MAX_CPU_CACHE_GIB, available_gib // 8))
    variables = {"VLLM_CPU_KVCACHE_SPACE": str(cache_gib)}
    is_one_rank = all(flag_value(flags, flag) in (None, "1") for flag in RANKS)
    cpus, num_threads = cpu.usable_cpus(), cpu.num_threads()
    if is_one_rank and num_threads < len(cpus):
        # A container's share of CPUs that others use as well: no place to bind to.
        variables["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        variables["OMP_NUM_THREADS"] = str(num_threads)
    elif is_one_rank and cpu.num_memory_nodes() == 1:
        # vLLM's choice leaves a core idle; with several nodes or ranks it knows best.
        variables["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cpus))
    library = python.absolute().parent.parent / "lib" / "libiomp5.so"
    if library.exists() and "libiomp" not in environment.get("LD_PRELOAD", ""):
        variables["LD_PRELOAD"] = _joined(library, environment.get("LD_PRELOAD"))
        # Its threads else spin for 200 ms after each step, on cores that others want.
        variables["KMP_BLOCKTIME"] = "0"
    return variables


def _is_for_cpus(python: str, environment: Mapping[str, str]) -> bool:
    """Tell if vLLM is going to work on CPUs: by how it was built, as itself does.

    Where its build cannot be seen, it is for the GPU that is; AMD's count as well.
    """
    build = installed_build(python)
    if build is None:
        return not (cpu.has_nvidia_gpu() or cpu.has_amd_gpu())
    is_told_so = environment.get("VLLM_TARGET_DEVICE", "").lower() == "cpu"
    return "cpu" in build or is_told_so or sys.platform == "darwin"


def _number(flags: Sequence[str], name: str) -> int | None:
    value = flag_value(flags, name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise BadSetting(f"{name} {value} is no number.")
    return int(value)


def _joined(first: Path, rest: str | None) -> str:
    return os.pathsep.join(filter(None, (str(first.absolute()), rest)))


if __name__ == "__main__":
    raise SystemExit(main())
