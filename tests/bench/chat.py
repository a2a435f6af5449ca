"""What the chat's websockets cost: many that stream at a fixed pace, many idle ones.

The sockets are real, to one web process with an engine that sends a token every 50 ms.
"""

import asyncio
import json
import re
import time
from collections.abc import Sequence

import aiohttp
import psutil
from msgspec import Struct

from tests.bench.load import percentile
from tests.bench.weight import usage_of
from tests.product import Product, manage

PACE_SECONDS = 0.05
SOCKETS_PER_USER = 5
SIGN_IN = """
from tests.bench.chat_sessions import make_sessions
print("sessions", *make_sessions({num_users}))
"""


class ChatCost(Struct, kw_only=True):
    """What was seen on the pages' side, and of the web process."""

    num_streams: int
    num_tokens: int
    """Of all streams together, as the settled answers count them."""
    late_p50_ms: float
    """By how much a delta came later than the engine's pace has it."""
    late_p99_ms: float
    late_most_ms: float
    cpu_share: float
    """Of one core, while all of them streamed."""
    num_idle: int
    idle_bytes: float
    """Memory of the process for one more idle socket."""
    errors: dict[str, int]


class Sockets:
    """Pages' websockets to one product, each of a signed-in person."""

    def __init__(self, product: Product, model: str, sessions: Sequence[str]) -> None:
        self._product = product
        self._model = model
        self._sessions = sessions
        self.lateness: list[float] = []
        self.num_tokens = 0
        self.errors: dict[str, int] = {}

    async def measure(
        self, num_streams: int, num_idle: int, tokens_each: int
    ) -> ChatCost:
        limit = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=limit) as client:
            idle_bytes = await self._idle_bytes(client, num_idle)
            sockets = await self._open(client, num_streams)
            before, began = usage_of(self._product.process.pid), time.perf_counter()
            await asyncio.gather(*(self._stream(each, tokens_each) for each in sockets))
            seconds = time.perf_counter() - began
            after = usage_of(self._product.process.pid)
            await asyncio.gather(*(each.close() for each in sockets))
        late = sorted(1000 * each for each in self.lateness)
        return ChatCost(
            num_streams=num_streams,
            num_tokens=self.num_tokens,
            late_p50_ms=percentile(late, 50),
            late_p99_ms=percentile(late, 99),
            late_most_ms=late[-1] if late else 0.0,
            cpu_share=(after.cpu_seconds - before.cpu_seconds) / seconds,
            num_idle=num_idle,
            idle_bytes=idle_bytes,
            errors=self.errors,
        )

    async def _idle_bytes(self, client: aiohttp.ClientSession, count: int) -> float:
        """What one more idle socket takes. As many before it load what all share."""
        first = await self._open(client, count)
        await asyncio.sleep(2)
        before = resident_bytes(self._product)
        more = await self._open(client, count)
        await asyncio.sleep(5)  # the models are sent, and nothing else is under way
        grown = resident_bytes(self._product) - before
        await asyncio.gather(*(each.close() for each in [*first, *more]))
        return grown / count

    async def _open(
        self, client: aiohttp.ClientSession, count: int
    ) -> list[aiohttp.ClientWebSocketResponse]:
        opened = []
        for number in range(count):
            session = self._sessions[number % len(self._sessions)]
            socket = await client.ws_connect(
                f"ws://127.0.0.1:{self._product.port}/ws/chat/",
                headers={"Cookie": f"sessionid={session}", "Origin": self._product.url},
            )
            opened.append(socket)
        return opened

    async def _stream(
        self, socket: aiohttp.ClientWebSocketResponse, tokens: int
    ) -> None:
        """Ask one question, and take down when each part of the answer comes."""
        interval = round(1000 * PACE_SECONDS)
        text = f"go on [[tokens={tokens} interval_ms={interval}]]"
        await socket.send_json({"type": "send", "model": self._model, "text": text})
        latest = None
        async for message in socket:
            event = json.loads(message.data)
            if event["type"] == "delta":
                arrived = time.perf_counter()
                if latest is not None:
                    self.lateness.append(max(0.0, arrived - latest - PACE_SECONDS))
                latest = arrived
            elif event["type"] in ("settled", "error"):
                self._note_end(event, tokens)
                return
        self._fail("connection lost")

    def _note_end(self, event: dict, tokens: int) -> None:
        if event["type"] == "error":
            self._fail(event["code"])
            return
        answer = event["message"]
        received = len(answer["content"].split())
        self.num_tokens += received
        if answer["state"] != "complete" or received != tokens:
            self._fail(f"{answer['state']} with a wrong number of tokens")

    def _fail(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1


def chat_cost(
    product: Product, model: str, num_streams: int, seconds: float
) -> ChatCost:
    """Stream for so long on so many sockets of one process; then count idle ones."""
    num_users = max(1, num_streams // SOCKETS_PER_USER)
    code = SIGN_IN.format(num_users=num_users)
    said = manage(product.var_dir, "shell", "-c", code).stdout
    found = re.search(r"^sessions (.*)$", said, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"nobody could be signed in: {said}")
    sockets = Sockets(product, model, found[1].split())
    tokens_each = round(seconds / PACE_SECONDS)
    return asyncio.run(sockets.measure(num_streams, num_streams, tokens_each))


def resident_bytes(product: Product) -> int:
    """The present size of the product's processes together."""
    root = psutil.Process(product.process.pid)
    family = [root, *root.children(recursive=True)]
    return sum(process.memory_info().rss for process in family)
