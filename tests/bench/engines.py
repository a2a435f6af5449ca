"""How many tokens a second the transformers engine makes, for one client and for many.

A real worker in each precision is asked over HTTP, as the gateway asks it. Levels take
turns and the best round of each counts: other work on the machine only makes one worse.
"""

import json
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct

from tests import engines
from tests.bench.weight import usage_of
from tests.engines import RunningWorker

DTYPES = ("float32", "bfloat16")
LEVELS = (1, 4, 16)
NUM_TOKENS = 64
AIM_RATIO = 2.5

PROMPT = [{"role": "user", "content": "Tell me a long story about a fox and a hen."}]


class Rate(Struct, kw_only=True):
    """What one round brought: each of `num_clients` asked once, all together."""

    dtype: str
    num_clients: int
    num_tokens: int
    seconds: float
    cpu_seconds: float
    """Of the worker's processes, user and system."""

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds

    @property
    def tokens_per_cpu_second(self) -> float:
        return self.num_tokens / self.cpu_seconds


def engine_rates(
    num_tokens: int = NUM_TOKENS, num_rounds: int = 3, levels: Sequence[int] = LEVELS
) -> Iterator[Rate]:
    """Yield the best rate of each precision at each level, precision by precision."""
    for dtype in DTYPES:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as folder,
            engines.start_model_worker(
                Path(folder), flags=("--device", "cpu", "--dtype", dtype)
            ) as worker,
        ):
            rate(worker, dtype, 1, num_tokens=8)  # the first answer is always slow
            rounds = [
                [rate(worker, dtype, level, num_tokens) for level in levels]
                for _ in range(num_rounds)
            ]
        for of_level in zip(*rounds, strict=True):
            yield max(of_level, key=lambda found: found.tokens_per_second)


def rate(worker: RunningWorker, dtype: str, num_clients: int, num_tokens: int) -> Rate:
    """Return what `num_clients` get who ask at once for `num_tokens` each."""
    used_before = usage_of(worker.process.pid).cpu_seconds
    with ThreadPoolExecutor(num_clients) as clients:
        started_at = time.monotonic()
        made = list(clients.map(lambda _: _ask(worker, num_tokens), range(num_clients)))
        seconds = time.monotonic() - started_at
    return Rate(
        dtype=dtype,
        num_clients=num_clients,
        num_tokens=sum(made),
        seconds=seconds,
        cpu_seconds=usage_of(worker.process.pid).cpu_seconds - used_before,
    )


def ratio(rates: Iterable[Rate], dtype: str) -> float:
    """Return how much more tokens a second most clients get than one, all together."""
    by_level = {
        found.num_clients: found.tokens_per_second
        for found in rates
        if found.dtype == dtype
    }
    return by_level[max(by_level)] / by_level[min(by_level)]


def _ask(worker: RunningWorker, num_tokens: int) -> int:
    """Return how many tokens the answer had; raises OSError if it was refused."""
    body = {
        "model": worker.name,
        "messages": PROMPT,
        "max_tokens": num_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    request = urllib.request.Request(
        f"{worker.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {**worker.headers, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        usage = json.load(answer)["usage"]
    return int(usage["completion_tokens"])
