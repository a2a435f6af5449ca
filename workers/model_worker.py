"""A model worker whose engine is transformers: `python -m workers.model_worker`."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from workers.agent import run_worker
from workers.config import WorkerConfig, add_worker_arguments
from workers.engine_process import EngineCommand, import_folder
from workers.supervisor import Engine

DEFAULT_CONCURRENCY = 16


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workers.model_worker",
        description="Serve a model with transformers, on a CPU or one GPU.",
        allow_abbrev=False,
    )
    add_worker_arguments(parser)
    parser.add_argument("--max-model-len", type=int, help="bound on the context")
    arguments = parser.parse_args()
    return run_worker(
        arguments, partial(transformers_engine, max_model_len=arguments.max_model_len)
    )


def transformers_engine(
    config: WorkerConfig,
    host: str,
    port: int,
    state_dir: Path,
    *,
    max_model_len: int | None = None,
) -> Engine:
    """Return the engine that serves the model of `config` at `host` and `port`."""
    concurrency = config.max_concurrency or DEFAULT_CONCURRENCY
    flags: dict[str, object] = {
        "--model-path": config.model_path,
        "--host": host,
        "--port": port,
        "--max-concurrency": concurrency,
        "--device": config.device,
        "--dtype": config.dtype,
        "--max-model-len": max_model_len,
    }
    arguments = [sys.executable, "-m", "workers.transformers_engine"]
    for flag, value in flags.items():
        if value is not None:
            arguments += [flag, str(value)]
    for name in config.names:
        arguments += ["--name", name]
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
    )


if __name__ == "__main__":
    raise SystemExit(main())
