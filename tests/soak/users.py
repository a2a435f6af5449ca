"""Users who ask without pause, in every way that a request can go and end."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp

from tests.product import CHAT_PATH, Product, chat_content

GONE = (aiohttp.ClientError, TimeoutError)


class Users:
    """So many at once; each asks again as soon as it was answered, or has left."""

    def __init__(self, product: Product, number: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._product = product
        self._number = number
        self._rng = random.Random(1)
        self._session: aiohttp.ClientSession

    async def ask_for(self, seconds: float) -> None:
        """Return when the time is over and the last of them has its answer."""
        key = self._product.credentials.api_key
        async with aiohttp.ClientSession(
            self._product.url,
            headers={"Authorization": f"Bearer {key}"},
            connector=aiohttp.TCPConnector(limit=0),
        ) as self._session:
            until = asyncio.get_running_loop().time() + seconds
            await asyncio.gather(*(self._user(until) for _ in range(self._number)))

    async def _user(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            scene = self._rng.choice(SCENES)
            self.outcomes[await scene(self)] += 1

    # -- what they do ----------------------------------------------------------

    async def reads_whole(self) -> str:
        return await self._ask("[[tokens=30]]", stream=False)

    async def reads_stream(self) -> str:
        return await self._ask("[[tokens=50 interval_ms=4]]")

    async def asks_nonsense(self) -> str:
        return await self._ask("Hi", max_tokens=-1)

    async def asks_for_too_much(self) -> str:
        return await self._ask("word " * 5000)

    async def meets_an_error(self) -> str:
        return await self._ask("[[status=500]]")

    async def meets_a_busy_engine(self) -> str:
        return await self._ask("[[status=503]]")

    async def is_cut_before_the_first_byte(self) -> str:
        return await self._ask("[[cut_after=0]]", stream=self._rng.random() < 0.5)

    async def is_cut_in_the_middle(self) -> str:
        return await self._ask("[[tokens=20 interval_ms=2 cut_after=9]]")

    async def meets_garbage(self) -> str:
        return await self._ask("[[garbage]]", stream=self._rng.random() < 0.5)

    async def leaves_in_the_middle(self) -> str:
        with suppress(*GONE):
            async with self._post("[[tokens=1000 interval_ms=5]]") as response:
                await response.content.readline()
        return "left"

    async def leaves_before_the_first_byte(self) -> str:
        with suppress(*GONE):
            async with (
                asyncio.timeout(self._rng.uniform(0, 0.05)),
                self._post("[[first_ms=1000]]"),
            ):
                pass
        return "left"

    async def _ask(self, text: str, **fields) -> str:
        try:
            async with asyncio.timeout(60), self._post(text, **fields) as response:
                body = await response.read()
        except GONE as exc:
            return type(exc).__name__
        has_error = response.status == 200 and b'"error"' in body
        return f"{response.status}{' with an error' if has_error else ''}"

    def _post(self, text: str, **fields):
        content = chat_content(text, **{"stream": True} | fields)
        return self._session.post(CHAT_PATH, json=content)


SCENES: tuple[Callable[[Users], Awaitable[str]], ...] = (
    *[Users.reads_whole] * 4,
    *[Users.reads_stream] * 8,
    *[Users.leaves_in_the_middle] * 3,
    *[Users.leaves_before_the_first_byte] * 2,
    Users.asks_nonsense,
    Users.asks_for_too_much,
    Users.meets_an_error,
    Users.meets_a_busy_engine,
    Users.is_cut_before_the_first_byte,
    Users.is_cut_in_the_middle,
    Users.meets_garbage,
)
