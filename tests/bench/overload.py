"""Three times more than the workers can do, from two callers of very unlike demand.

An open loop: requests come at their rate whatever becomes of those before, so that the
waiting line fills, and what does not fit is refused. The engine has a fixed number of
places and takes a fixed time for an answer. What it does in truth, on a machine with
other work, is measured first: asked directly, by as many clients as it has places.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from msgspec import Struct, field

from tests.bench.load import percentile
from tests.bench.weight import usage_of
from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import CHAT_PATH, Product, chat_content, joined, manage

MODEL = "overload"
PLACES = 20
ANSWER_MS = 400.0
CAPACITY = PLACES * 1000 / ANSWER_MS
# Both ask for more than their half, one of them three times as much as the other.
DEMANDS = {"flood": 2.25, "steady": 0.75}
RECOVERY_SECONDS = 30.0


class Overload(Struct, kw_only=True):
    """What was seen on the clients' side within the window, and after it."""

    direct_per_second: float
    """Answers of the engine, asked directly with all its places taken."""
    seconds: float
    answers: dict[str, int]
    """Complete ones, by caller."""
    refusals: dict[int, int]
    """By status: 429 for one's own share, 503 for a full line or a vain wait."""
    num_hasty: int
    """Refusals that did not say when to come back."""
    errors: dict[str, int]
    wait_p50_ms: dict[str, float]
    """In line, of those answered, by caller."""
    longest_line: int
    grown_bytes: int
    """Of the product's peak memory, over what it was before."""
    recovery_seconds: float
    """From the last request of the flood until one is served without a wait."""

    @property
    def goodput(self) -> float:
        """Answers per second, as a share of what the engine does directly."""
        return sum(self.answers.values()) / self.seconds / self.direct_per_second

    @property
    def unfairness(self) -> float:
        """How far the two callers' answers are apart, as a share of the larger."""
        least, most = sorted(self.answers.values())
        return 1 - least / max(1, most)


class _Seen(Struct):
    answers: Counter[str] = field(default_factory=Counter)
    refusals: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    waits: dict[str, list[float]] = field(default_factory=dict)
    num_hasty: int = 0
    longest_line: int = 0


class Clients:
    """The callers, each with a key of a person of its own."""

    def __init__(
        self, product: Product, engine: MockEngine, keys: dict[str, str]
    ) -> None:
        self._product = product
        self._engine = engine
        self._keys = keys
        self.seen = _Seen()

    async def run(self, warm_up: float, seconds: float) -> Overload:
        before = usage_of(self._product.process.pid).peak_rss_bytes
        limit = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=limit) as session:
            direct_per_second = await self._direct_rate(session, seconds)
            asking = [
                asyncio.create_task(self._ask_steadily(session, caller, share))
                for caller, share in DEMANDS.items()
            ]
            await asyncio.sleep(warm_up)
            self.seen, began = _Seen(), time.perf_counter()
            while time.perf_counter() - began < seconds:
                await asyncio.sleep(0.5)
                await self._look_at_line(session)
            seen, took = self.seen, time.perf_counter() - began
            for task in asking:
                task.cancel()
            recovery = await self._recovery(session)
        after = usage_of(self._product.process.pid).peak_rss_bytes
        return Overload(
            direct_per_second=direct_per_second,
            seconds=took,
            answers={caller: seen.answers[caller] for caller in DEMANDS},
            refusals=dict(seen.refusals),
            num_hasty=seen.num_hasty,
            errors=dict(seen.errors),
            wait_p50_ms={
                caller: percentile(seen.waits.get(caller, []), 50) for caller in DEMANDS
            },
            longest_line=seen.longest_line,
            grown_bytes=after - before,
            recovery_seconds=recovery,
        )

    async def _direct_rate(
        self, session: aiohttp.ClientSession, seconds: float
    ) -> float:
        """The engine's own answers per second, with all places taken all the time."""
        num_answers, began = 0, time.perf_counter()

        async def keep_asking() -> None:
            nonlocal num_answers
            while time.perf_counter() - began < seconds:
                await self._post(session, self._engine.url, self._engine.config.key)
                num_answers += 1

        await asyncio.gather(*(keep_asking() for _ in range(PLACES)))
        return num_answers / (time.perf_counter() - began)

    async def _ask_steadily(
        self, session: aiohttp.ClientSession, caller: str, share: float
    ) -> None:
        """Send a request at each tick, and let it become what it may."""
        interval = 1 / (share * CAPACITY)
        due = time.perf_counter()
        async with asyncio.TaskGroup() as requests:
            while True:
                requests.create_task(self._ask(session, caller))
                due += interval
                await asyncio.sleep(due - time.perf_counter())

    async def _ask(self, session: aiohttp.ClientSession, caller: str) -> None:
        try:
            url, key = self._product.url, self._keys[caller]
            status, headers = await self._post(session, url, key)
        except aiohttp.ClientError as exc:
            self.seen.errors[type(exc).__name__] += 1
            return
        seen = self.seen
        if status == 200:
            seen.answers[caller] += 1
            waited = float(headers.get("x-switchyard-queue-ms", 0))
            seen.waits.setdefault(caller, []).append(waited)
        elif status in (429, 503):
            seen.refusals[status] += 1
            seen.num_hasty += "retry-after" not in headers
        else:
            seen.errors[f"status {status}"] += 1

    async def _post(
        self, session: aiohttp.ClientSession, url: str, key: str
    ) -> tuple[int, dict[str, str]]:
        """The status, and the headers with names in lower case."""
        content = chat_content("Hi", model=MODEL, max_tokens=8)
        sent = {"Authorization": f"Bearer {key}"}
        async with session.post(
            url + CHAT_PATH, json=content, headers=sent
        ) as response:
            await response.read()
            names = {name.lower(): value for name, value in response.headers.items()}
            return response.status, names

    async def _look_at_line(self, session: aiohttp.ClientSession) -> None:
        async with session.get(self._product.url + "/metrics") as response:
            found = re.search(
                rf'^switchyard_queue_length{{model="{MODEL}"}} (\S+)',
                await response.text(),
                re.MULTILINE,
            )
        length = int(float(found[1])) if found else 0
        self.seen.longest_line = max(self.seen.longest_line, length)

    async def _recovery(self, session: aiohttp.ClientSession) -> float:
        """The flood's clients have all hung up; how long is a caller affected?"""
        began = time.perf_counter()
        while time.perf_counter() - began < RECOVERY_SECONDS:
            url, key = self._product.url, self._keys["steady"]
            status, headers = await self._post(session, url, key)
            if status == 200 and "x-switchyard-queue-ms" not in headers:
                break
        return time.perf_counter() - began - ANSWER_MS / 1000


@contextmanager
def overloaded_engine(product: Product) -> Iterator[MockEngine]:
    """An engine of known capacity in the product's fleet."""
    with (
        running_mock_engine(
            models=(MODEL,), concurrency=PLACES, first_ms=ANSWER_MS, tokens=8
        ) as engine,
        joined(product, engine, max_concurrency=PLACES),
    ):
        yield engine


def measure_overload(product: Product, warm_up: float, seconds: float) -> Overload:
    """Flood the product for so long. The first operator is the one caller."""
    keys = {"flood": product.credentials.api_key, "steady": _second_key(product)}
    with overloaded_engine(product) as engine:
        return asyncio.run(Clients(product, engine, keys).run(warm_up, seconds))


def _second_key(product: Product) -> str:
    """A key of somebody else: all keys of one person have one share."""
    made = manage(
        product.var_dir,
        "createsuperuser",
        "--noinput",
        "--username=steady",
        "--email=steady@example.org",
    )
    created = manage(
        product.var_dir,
        "create_key",
        "--user=steady",
        "--name=bench",
        "--scopes=inference",
    )
    if made.returncode or created.returncode:
        raise RuntimeError(f"no second key:\n{made.stdout}{created.stdout}")
    return created.stdout.split()[-1]
