"""The command that the console shows to those who add a worker, typed into a shell."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAKE_WORKER = ROOT / "tests/workers/fake_worker.py"
STOP_SECONDS = 20


@contextmanager
def running_command(
    command: str, folder: Path, *flags: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The command as it is shown, but for the engine, which has no model; more `flags`
    are `fake_worker`'s own. Its output is in the folder's `log`."""
    shown = "python -m workers.vllm_worker"
    assert command.count(shown) == 1
    typed = command.replace(shown, f"exec {sys.executable} {FAKE_WORKER}")
    assert typed.startswith("SWITCHYARD_JOIN_TOKEN=")
    typed = " ".join([typed.replace(" \\\n", "\n", 1), *flags])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", f"export {typed}"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
