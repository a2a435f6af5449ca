"""An engine that answers with exactly the bytes a test writes, in the test's own loop.

The mock engine behaves like vLLM; this one breaks HTTP wherever a test wants it to.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from controller.relay.client import Target

Script = Callable[["RawConnection"], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


class RawConnection:
    """The engine's end of one connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader, self.writer = reader, writer

    async def request(self) -> bytes:
        """The head of the next request; its body is read and dropped.

        Raises `asyncio.IncompleteReadError` when the client has left instead.
        """
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self.reader.readexactly(int(length or b"0"))
        return head

    async def send(self, *parts: bytes) -> None:
        """Write the parts, each as a read of its own for the client, most likely."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.001)

    async def until_client_leaves(self) -> None:
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class RawEngine:
    """Where it listens, and how many connections it has had."""

    def __init__(self) -> None:
        self.num_connections = 0
        self.target = Target(ip="127.0.0.1", port=0, host="engine")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.target.port}"


@asynccontextmanager
async def running_raw_engine(
    script: Script, tls: ssl.SSLContext | None = None, tls_name: str = ""
) -> AsyncIterator[RawEngine]:
    """An engine that runs `script` for each connection, then closes it."""
    engine = RawEngine()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine.num_connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await script(RawConnection(reader, writer))
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    engine.target = Target("127.0.0.1", port, f"engine:{port}", tls_name)
    try:
        yield engine
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*parts: bytes) -> Script:
    """Each request on a connection is answered with these parts."""

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(*parts)

    return script


def answering_once(*parts: bytes) -> Script:
    """Like `answering`, and then the connection is closed."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(*parts)

    return script
