"""A worker like the real ones, flags and all, whose engine is `fake_engine.py`."""

import argparse
import os
import sys
from pathlib import Path

from workers import key_rotation
from workers.agent import run_worker
from workers.config import WorkerConfig, add_worker_arguments
from workers.engine_process import EngineCommand
from workers.supervisor import Engine

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")


def fake_engine(config: WorkerConfig, host: str, port: int, _folder: Path) -> Engine:
    arguments = [sys.executable, str(FAKE_ENGINE), host, str(port), *config.names]
    environment = {}
    if config.certificate is not None:
        certfile, keyfile = config.certificate.certfile, config.certificate.keyfile
        environment = {"CERTFILE": str(certfile), "KEYFILE": str(keyfile)}
    return Engine(
        name="fake",
        command=EngineCommand(arguments=arguments, environment=environment),
        max_concurrency=4,
    )


if __name__ == "__main__":
    key_rotation.OVERLAP_SECONDS = float(os.environ.get("OVERLAP_SECONDS", "60"))
    parser = argparse.ArgumentParser()
    add_worker_arguments(parser)
    raise SystemExit(run_worker(parser.parse_args(), fake_engine))
