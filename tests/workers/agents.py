"""A worker's agent as a process, and what tests do with it and with its engine."""

import asyncio
import json
import socket
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.workers.stub_controller import StubController

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
ROOT = Path(__file__).resolve().parents[2]

StartWorker = Callable[..., Awaitable["Worker"]]


class Worker:
    """A running fake worker whose log can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""

    async def says(self, text: str) -> None:
        """Wait until the log holds `text`, from where it was last read."""
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            while text not in (line := (await self.process.stderr.readline()).decode()):
                self.log += line
                assert line, self.log
        self.log += line

    async def ended(self) -> int:
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            self.log += (await self.process.stderr.read()).decode()
            return await self.process.wait()


def call(address: str, path: str, key: str, method: str = "GET") -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(address + path, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.loads(response.read() or "null")


def control(controller: StubController, path: str) -> None:
    """Make the engine of the last worker that joined do what `path` says."""
    _, joined = controller.joins[-1]
    with suppress(OSError):
        call(joined.address, path, joined.engine_key, "POST")


def engine_pid(controller: StubController) -> int:
    _, joined = controller.joins[-1]
    return int(call(joined.address, "/version", joined.engine_key)["pid"])


def is_listening(address: str) -> bool:
    with suppress(OSError):
        host, port = address.removeprefix("http://").split(":")
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    return False
