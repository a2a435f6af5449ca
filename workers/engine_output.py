"""An engine's output: passed on to ours, and read for how much it has loaded."""

import asyncio
import contextlib
import os
import re
import sys
from typing import BinaryIO

from workers.log_tail import LineSplitter, log_tail

# "Loading safetensors checkpoint shards:  43% Completed | 3/7", as vLLM says it, or
# "Loading weights:  43%|####", as transformers does; each overwrites the last.
_PROGRESS = re.compile(rb"Loading [^\r\n%]{1,100}?(\d{1,3})%")
_KEPT_BYTES = 160  # a line may come in two pieces
LAST_LINES_SECONDS = 1.0


class EngineOutput:
    """What one run of an engine writes to `stdout` and `stderr`, our pipes' ends."""

    def __init__(self) -> None:
        self.progress: float | None = None
        """Share of the weights that are loaded, 0 to 1; None until it is said."""
        self.stdout = self.stderr = -1
        self._relays: list[_Relay] = []

    async def open(self) -> None:
        self.stdout = await self._relay(sys.stdout.buffer)
        self.stderr = await self._relay(sys.stderr.buffer)

    def close_our_end(self) -> None:
        """To be called once the engine has its own; it then ends with the engine's."""
        os.close(self.stdout)
        os.close(self.stderr)

    async def last_lines(self) -> None:
        """Wait until all that the engine wrote has been passed on.

        Not for long: what it left behind may hold the pipe open.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_LINES_SECONDS):
                for relay in self._relays:
                    await relay.ended.wait()

    def read(self, text: bytes) -> None:
        found = _PROGRESS.findall(text)
        if found:
            self.progress = min(int(found[-1]), 100) / 100

    async def _relay(self, to: BinaryIO) -> int:
        # Pipes of our own: asyncio's would make it wait for whoever inherits them.
        readable, writable = os.pipe()
        loop = asyncio.get_running_loop()
        _, relay = await loop.connect_read_pipe(
            lambda: _Relay(self, to), os.fdopen(readable, "rb", buffering=0)
        )
        self._relays.append(relay)
        return writable


class _Relay(asyncio.Protocol):
    def __init__(self, output: EngineOutput, to: BinaryIO) -> None:
        self.ended = asyncio.Event()
        self._output = output
        self._to = to
        self._tail = b""
        self._lines = LineSplitter(log_tail)

    def data_received(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody reads ours: the engine goes on
            self._to.write(data)
            self._to.flush()
        self._lines.feed(data)
        self._output.read(self._tail + data)
        self._tail = (self._tail + data)[-_KEPT_BYTES:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._lines.close()
        self.ended.set()
