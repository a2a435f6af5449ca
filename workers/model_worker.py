"""A model worker whose engine is transformers: `python -m workers.model_worker`."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path

from workers.agent import run_worker
from workers.config import WorkerConfig, add_worker_arguments, model_names
from workers.engine_process import EngineCommand, import_folder
from workers.errors import BadSetting
from workers.supervisor import Engine

DEFAULT_CONCURRENCY = 16


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What an operator may say about this engine besides what all workers have."""

    paths: Sequence[str]
    names: Sequence[str]
    """The served name and aliases of each path, with commas between."""
    max_model_len: int | None = None
    revision: str | None = None
    num_bits: int | None = None


def main() -> int:
    arguments = _arguments()
    options = EngineOptions(
        paths=arguments.model_path,
        names=_names(arguments.model_path, arguments.model_names or []),
        max_model_len=arguments.max_model_len,
        revision=arguments.revision,
        num_bits=arguments.num_bits,
    )
    arguments.model_path, arguments.model_names = options.paths[0], options.names[0]
    return run_worker(arguments, partial(transformers_engine, options=options))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m workers.model_worker",
        description="Serve models with transformers, on a CPU or one GPU.",
        allow_abbrev=False,
        conflict_handler="resolve",  # some flags may be given several times here
    )
    add_worker_arguments(parser)
    add = parser.add_argument
    add(
        "--model-path",
        "--model",
        action="append",
        required=True,
        help="folder, .gguf file, adapter's folder or name on the hub; repeat for more",
    )
    add(
        "--model-names",
        action="append",
        help="served name, then aliases, with commas between; repeat as the paths",
    )
    add("--max-model-len", type=int, help="bound on the context")
    add("--revision", help="version of a model that comes from the hub")
    bits = parser.add_mutually_exclusive_group()
    for num_bits in (8, 4):
        bits.add_argument(
            f"--load-{num_bits}bit",
            dest="num_bits",
            action="store_const",
            const=num_bits,
            help=f"weights in {num_bits} bits, by bitsandbytes",
        )
    arguments = parser.parse_args()
    if len(arguments.model_names or []) > len(arguments.model_path):
        parser.error("--model-names is given more often than --model-path.")
    return arguments


def _names(paths: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return the names of each path: as given in order, else its last part."""
    return [
        names or Path(path.rstrip("/")).name.removesuffix(".gguf")
        for path, names in zip_longest(paths, given)
    ]


def transformers_engine(
    config: WorkerConfig,
    host: str,
    port: int,
    state_dir: Path,
    *,
    options: EngineOptions,
) -> Engine:
    """Return the engine that serves the models of `options` at `host` and `port`."""
    served = [
        model_names(names, path)
        for path, names in zip(options.paths, options.names, strict=True)
    ]
    _check_distinct(served)
    concurrency = config.max_concurrency or DEFAULT_CONCURRENCY
    flags: dict[str, object] = {
        "--host": host,
        "--port": port,
        "--max-concurrency": concurrency,
        "--device": config.device,
        "--dtype": config.dtype,
        "--max-model-len": options.max_model_len,
        "--revision": options.revision,
        "--num-bits": options.num_bits,
        "--ssl-certfile": config.certificate and config.certificate.certfile,
        "--ssl-keyfile": config.certificate and config.certificate.keyfile,
    }
    arguments = [sys.executable, "-m", "workers.transformers_engine"]
    for flag, value in flags.items():
        if value is not None:
            arguments += [flag, str(value)]
    for path, names in zip(options.paths, options.names, strict=True):
        arguments += ["--model-path", path, "--names", names]
    environment = {
        "PYTHONPATH": str(import_folder(state_dir).absolute()),
        # Threads that spin while they wait for each other stop all progress when the
        # machine does other work too: 0.5 tokens/s instead of 8 on two busy cores.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
    return Engine(
        name="transformers",
        command=EngineCommand(arguments=arguments, environment=environment),
        max_concurrency=concurrency,
        other_models=tuple(served[1:]),
    )


def _check_distinct(names: Sequence[Sequence[str]]) -> None:
    """Raise `BadSetting` where two models bear one name: one would hide the other."""
    times = Counter(chain.from_iterable(names))
    if twice := [name for name, number in times.items() if number > 1]:
        raise BadSetting(
            f"Two models would be called {twice[0]!r}: give each a name of its own,"
            " with a --model-names for each --model-path."
        )


if __name__ == "__main__":
    raise SystemExit(main())
