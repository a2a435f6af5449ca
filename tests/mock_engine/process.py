"""The mock engine as a process of its own, driven by plain blocking calls.

The calls block for a loopback round trip (`wait_for` up to its timeout). In a test
whose event loop also runs the product, make them by `await asyncio.to_thread(...)`.
"""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tests.mock_engine.behaviour import MockEngineConfig
from tests.mock_engine.connection import Snapshot, WaitRequest
from tests.mock_engine.records import RecordedRequest, Totals

_ROOT = Path(__file__).resolve().parents[2]


class MockEngine:
    """A started mock engine: where it listens, what it saw, and how to hurt it."""

    def __init__(self, config: MockEngineConfig) -> None:
        self.config = config
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.mock_engine",
                "--until-stdin-closes",  # ends with us, even if we are killed
                *config.flags(),
            ],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        first_line = self.process.stdout.readline()
        if not first_line.startswith("listening on "):
            raise RuntimeError(f"the mock engine did not start: {first_line!r}")
        self.url = first_line.removeprefix("listening on ").strip()
        self.port = int(self.url.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the engine must carry."""
        return {"Authorization": f"Bearer {self.config.key}"}

    def requests(self, path: str | None = None) -> list[RecordedRequest]:
        """Return the recorded requests, oldest first; of one path if given."""
        requests = self._snapshot().requests
        return [each for each in requests if path in (None, each.path)]

    def totals(self) -> Totals:
        return self._snapshot().totals

    def wait_for(self, timeout: float = 10.0, **goals: int) -> Totals:
        """Block until each count named (`started=1, cancelled=1`) is that high.

        Returns the totals by then. Raises TimeoutError after `timeout` seconds.
        """
        wish = WaitRequest(goals=goals, timeout=timeout)
        status, body = self._call("POST", "/mock/wait", wish, timeout=timeout + 5)
        if status != 200:
            raise TimeoutError(f"after {timeout} s not {goals} but {body.decode()}")
        return msgspec.json.decode(body, type=Totals)

    def reset(self) -> None:
        """Forget the requests so far."""
        self._call("POST", "/mock/reset")

    def kill(self) -> None:
        """End the process as `kill -9` does: connections break, the port refuses."""
        self.process.kill()
        self.process.wait()

    def suspend(self) -> None:
        """Freeze the process: the port accepts, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the process if it still runs, and free its pipes."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _snapshot(self) -> Snapshot:
        _, body = self._call("GET", "/mock/requests")
        return msgspec.json.decode(body, type=Snapshot)

    def _call(
        self, method: str, path: str, content: object = None, timeout: float = 10.0
    ) -> tuple[int, bytes]:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            str(address.hostname), address.port, timeout=timeout
        )
        try:
            connection.request(
                method, path, msgspec.json.encode(content), headers=self.headers
            )
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def running_mock_engine(**settings: Any) -> Iterator[MockEngine]:
    """Start a mock engine with `MockEngineConfig(**settings)`; end it on leaving."""
    engine = MockEngine(MockEngineConfig(**settings))
    try:
        yield engine
    finally:
        engine.close()
