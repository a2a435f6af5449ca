"""api_worker as a process beside the product."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.product import Product, environment, wait_until

ROOT = Path(__file__).resolve().parents[2]


class ApiWorker:
    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def says(self, text: str) -> None:
        """Wait until the log holds `text`."""
        wait_until(lambda: text in self.log, f"{text!r} in {self._log}")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def running_api_worker(
    product: Product, folder: Path, *flags: str, token: str | None = None
) -> Iterator[ApiWorker]:
    folder.mkdir(exist_ok=True)
    token_file = folder / "join_token"
    token_file.write_text(token or product.credentials.join_token)
    log = folder / "worker.log"
    where = ("--controller-address", product.url, "--state-dir", str(folder / "state"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "workers.api_worker", *where),
                *("--join-token-file", str(token_file), *flags),
            ],
            cwd=ROOT,
            env=environment(product.var_dir),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield ApiWorker(process, log)
    finally:
        process.kill()
        process.wait()
