"""`switchyard-chat throughput`: how fast a server answers many at once.

What is counted: tokens are the server's own count (`usage`); where it sends none, the
pieces of text that came, and the result says so. The time runs from the first request
sent to the last answer ended. Each prompt begins with a number of its own, so that no
prefix cache answers for the model. Failed requests are told by reason, and their tokens
and times are in no figure.
"""

import argparse
import asyncio
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from chat.terminal.api import (
    CHAT_PATH,
    check_status,
    explained,
    streamed,
    timeout_of,
)
from chat.terminal.chunks import ChunkReader
from chat.terminal.errors import TerminalError
from chat.terminal.flags import Bounded, add_place_flags, seconds
from chat.terminal.places import Place, find_place
from chat.terminal.screens import harmless

MOST_AT_ONCE, MOST_REQUESTS, MOST_TOKENS = 512, 100_000, 1_000_000
MOST_REASONS = 10
PROMPT = "Tell a long story about a railway in the mountains."


@dataclass(frozen=True)
class Load:
    """What is asked of the server."""

    model: str
    concurrency: int
    num_requests: int
    max_tokens: int
    prompt: str
    timeout: float
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def request(self, number: int) -> dict[str, Any]:
        content = f"{self.run}-{number} {self.prompt}"
        return streamed(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": self.max_tokens,
            }
        )


@dataclass
class Answered:
    """One whole answer."""

    ttft_seconds: float | None
    """None: it had no text at all."""
    num_tokens: int
    is_counted_by_server: bool


@dataclass
class Measured:
    """What came of a load."""

    concurrency: int
    num_asked: int = 0
    wall_seconds: float = 0.0
    answers: list[Answered] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def figures(self) -> dict[str, Any]:
        """The numbers by name; None where there is nothing to tell."""
        num_tokens = sum(each.num_tokens for each in self.answers)
        waits = [w for each in self.answers if (w := each.ttft_seconds) is not None]
        by_server = all(each.is_counted_by_server for each in self.answers)
        return {
            "concurrency": self.concurrency,
            "requests": self.num_asked,
            "answered": len(self.answers),
            "failed": self.failures.total(),
            "seconds": round(self.wall_seconds, 3),
            "requests_per_second": self._per_second(len(self.answers)),
            "tokens": num_tokens,
            "tokens_counted_by": "the server" if by_server else "pieces of text",
            "tokens_per_second": self._per_second(num_tokens),
            "ttft_p50_seconds": percentile(waits, 50),
            "ttft_p95_seconds": percentile(waits, 95),
        }

    def _per_second(self, number: int) -> float | None:
        return round(number / self.wall_seconds, 2) if self.wall_seconds else None


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest value that so many percent are not above (nearest rank)."""
    if not values:
        return None
    rank = -(-len(values) * percent // 100)
    return round(sorted(values)[rank - 1], 4)


def main(arguments: list[str]) -> int:
    flags = _parser().parse_args(arguments)
    place = find_place(flags.api_base, flags.api_key_file)
    load = Load(
        flags.model,
        flags.concurrency,
        flags.requests,
        flags.max_tokens,
        flags.prompt,
        flags.timeout,
    )
    measured = asyncio.run(measure(place, load))
    _tell(measured, as_json=flags.json)
    return 1 if measured.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="switchyard-chat throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_place_flags(parser)
    parser.add_argument("--model", required=True)
    number = parser.add_argument
    number("--concurrency", type=Bounded(MOST_AT_ONCE), default=8, help="at once (8)")
    number("--requests", type=Bounded(MOST_REQUESTS), default=32, help="in all (32)")
    number("--max-tokens", type=Bounded(MOST_TOKENS), default=64, help="each (64)")
    parser.add_argument("--prompt", default=PROMPT, help="what each one asks")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=600,
        help="seconds of silence until one counts as failed (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    return parser


async def measure(place: Place, load: Load) -> Measured:
    """Ask all of it, never more than `concurrency` at once."""
    measured = Measured(load.concurrency)
    numbers = iter(range(load.num_requests))
    limits = httpx.Limits(max_connections=load.concurrency)
    async with httpx.AsyncClient(
        headers=place.headers, timeout=timeout_of(load.timeout), limits=limits
    ) as client:
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(load.concurrency, load.num_requests)):
                group.create_task(_ask_on(client, place, load, numbers, measured))
        measured.wall_seconds = time.monotonic() - started
    return measured


async def _ask_on(
    client: httpx.AsyncClient,
    place: Place,
    load: Load,
    numbers: Iterator[int],
    measured: Measured,
) -> None:
    """Ask one after another until all are asked."""
    for number in numbers:
        measured.num_asked += 1
        try:
            measured.answers.append(await _answered(client, place, load, number))
        except TerminalError as exc:
            measured.failures[str(exc)] += 1


async def _answered(
    client: httpx.AsyncClient, place: Place, load: Load, number: int
) -> Answered:
    reader, url = ChunkReader(), place.base + CHAT_PATH
    answered = Answered(None, 0, is_counted_by_server=False)
    body = load.request(number)
    sent_at = time.monotonic()
    with explained(place):
        async with client.stream("POST", url, json=body) as response:
            if not response.is_success:
                await response.aread()
            check_status(place, response)
            async for line in response.aiter_lines():
                if (chunk := reader.chunk(line)) is None:
                    continue
                if chunk.text or chunk.thought:
                    answered.ttft_seconds = (
                        answered.ttft_seconds or time.monotonic() - sent_at
                    )
                    answered.num_tokens += not answered.is_counted_by_server
                if chunk.usage:
                    answered.num_tokens = chunk.usage.completion_tokens
                    answered.is_counted_by_server = True
    reader.check_end()
    return answered


def _tell(measured: Measured, as_json: bool) -> None:
    figures = measured.figures
    if as_json:
        print(msgspec.json.encode(figures).decode())  # noqa: T201
    else:
        for name, value in figures.items():
            told = "none" if value is None else value
            print(f"{name.replace('_', ' '):22}{told}")  # noqa: T201
    for why, times in measured.failures.most_common(MOST_REASONS):
        print(f"failed {times} times: {harmless(why)}", file=sys.stderr)  # noqa: T201
