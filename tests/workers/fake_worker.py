"""A worker like the real ones, flags and all, whose engine is `fake_engine.py`.

With `--answering` it is the mock engine, which answers what it is asked.
"""

import argparse
import os
import sys
from functools import partial
from itertools import chain
from pathlib import Path

from workers import adapters, key_rotation
from workers.adapter_sources import AdapterSources
from workers.agent import run_worker
from workers.config import WorkerConfig, add_worker_arguments
from workers.engine_guard import KEY_VARIABLE
from workers.engine_process import EngineCommand
from workers.supervisor import Engine

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")


def fake_engine(
    config: WorkerConfig,
    host: str,
    port: int,
    _folder: Path,
    flags: argparse.Namespace,
) -> Engine:
    other_models = tuple(names.split(",") for names in flags.other_models)
    names = [*config.names, *chain(*other_models)]
    arguments = [sys.executable, str(FAKE_ENGINE), host, str(port), *names]
    if flags.answering:
        arguments = mock_engine(host, port, names)
    environment = {"LORA_MODULES": flags.lora_modules}
    if flags.enable_lora:
        environment["RUNTIME_LORA"] = "1"
    if config.certificate is not None:
        certfile, keyfile = config.certificate.certfile, config.certificate.keyfile
        environment |= {"CERTFILE": str(certfile), "KEYFILE": str(keyfile)}
    return Engine(
        name="fake",
        command=EngineCommand(arguments=arguments, environment=environment),
        max_concurrency=4,
        other_models=tuple(map(tuple, other_models)),
        adapter_sources=AdapterSources(root=flags.adapter_root)
        if flags.enable_lora
        else None,
    )


def mock_engine(host: str, port: int, names: list[str]) -> list[str]:
    """The command; the engine's key is known once the shell runs it."""
    models = " ".join(f"--model={name}" for name in names)
    command = (
        f"exec {sys.executable} -m tests.mock_engine --host={host} --port={port}"
        f' {models} --tokens=4 --key="${KEY_VARIABLE}"'
    )
    return ["sh", "-c", command]


if __name__ == "__main__":
    adapters.NOTICE_SECONDS = 0.5
    key_rotation.OVERLAP_SECONDS = float(os.environ.get("OVERLAP_SECONDS", "60"))
    parser = argparse.ArgumentParser()
    add_worker_arguments(parser)
    parser.add_argument("--other-models", action="append", default=[])
    parser.add_argument("--answering", action="store_true")
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--lora-modules", default="")
    parser.add_argument("--adapter-root", type=Path)
    flags = parser.parse_args()
    raise SystemExit(run_worker(flags, partial(fake_engine, flags=flags)))
