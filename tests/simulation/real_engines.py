"""`python -m tests.simulation.real_engines`: policies before two real vLLM workers.

Conversations that share system prompts are held under each policy in turn, with texts
of its own, so that each begins with cold caches. Printed are the first token's time as
a client sees it, and what the engines themselves found in their prefix caches. Takes
some minutes on a quiet machine with two cores, and needs `.venv-vllm`.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench.weight import on_core
from tests.engines import start_vllm_worker
from tests.product import (
    CHAT_PATH,
    Product,
    manage,
    running_product,
    set_up,
    wait_until,
)

POLICIES = ("round_robin", "shortest_queue", "prefix_affinity")
MODEL = "shared"
NUM_GROUPS = 6
SYSTEM_WORDS = 700
NUM_TURNS = 3
NUM_AT_ONCE = 2
ANSWER_TOKENS = 16
# Room for the prompts of half of the groups: of all groups there is none.
FLAGS = (
    *("--max-model-len", "2048", "--dtype", "float32"),
    *("--block-size", "128", "--num-gpu-blocks-override", "26"),
)
WORDS = (
    *("river", "stone", "cloud", "garden", "letter", "winter", "market", "window"),
    *("copper", "forest", "music", "paper", "silver", "bridge", "candle", "harbor"),
)


@dataclass
class Seen:
    """Of one policy: seconds to each first token, and tokens asked of the caches."""

    ttfts: list[float]
    queried: int
    found: int


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="real-engines-") as folder,
        ExitStack() as on,
    ):
        var_dir = Path(folder) / "var"
        set_up(var_dir)
        token = manage(var_dir, "join_token", "--reusable").stdout.split()[-1]
        product = on.enter_context(running_product(var_dir))
        for core in (0, 1):
            with on_core(core):  # the worker stays there
                on.enter_context(
                    start_vllm_worker(
                        Path(folder) / f"worker-{core}",
                        controller=product.url,
                        join_token=token,
                        name=MODEL,
                        flags=FLAGS,
                    )
                )
        print("| policy | TTFT p50 | p90 | found in the engines' caches |")
        print("| --- | --- | --- | --- |")
        for policy in POLICIES:
            print(_row(policy, hold_conversations(product, policy)), flush=True)


def hold_conversations(product: Product, policy: str) -> Seen:
    """What was seen of all conversations under this policy."""
    choose(product, policy)
    queried, found = totals(product)
    jobs = [(policy, group, number) for group in range(NUM_GROUPS) for number in (1, 2)]
    random.Random(1).shuffle(jobs)
    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        timings = pool.map(lambda job: list(converse(product, *job)), jobs)
        ttfts = [ttft for each in timings for ttft in each]
    queried_after, found_after = totals(product)
    return Seen(ttfts, queried_after - queried, found_after - found)


def choose(product: Product, policy: str) -> None:
    """Set the model's policy as the console does; the product hears of it."""
    statement = (
        "from controller.models import Revision, ServedModel;"
        f"ServedModel.objects.update(policy='{policy}'); Revision.bump('fleet')"
    )
    completed = manage(product.var_dir, "shell", "-c", statement)
    assert completed.returncode == 0, completed.stdout
    time.sleep(2)  # REVISION_INTERVAL is a quarter of it


def converse(product: Product, policy: str, group: int, number: int) -> Iterator[float]:
    """Seconds to the first token of each turn of one conversation."""
    messages = [{"role": "system", "content": text(policy, group, SYSTEM_WORDS)}]
    for turn in range(NUM_TURNS):
        question = text(policy, group, 30, number, turn)
        messages.append({"role": "user", "content": question})
        yield first_token(product, messages)
        messages.append({"role": "assistant", "content": text("answer", number, 12)})


def first_token(product: Product, messages: list[dict[str, str]]) -> float:
    asked = {"model": MODEL, "messages": messages, "max_tokens": ANSWER_TOKENS}
    body = msgspec.json.encode({**asked, "stream": True})
    key = {"Authorization": f"Bearer {product.credentials.api_key}"}
    begun = time.perf_counter()
    with closing(product.connect(timeout=600)) as connection:
        connection.request("POST", CHAT_PATH, body, key)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        response.read(1)
        ttft = time.perf_counter() - begun
        response.read()
    return ttft


def text(*seed: object) -> str:
    """Words that depend on all of these; the third says how many."""
    rng = random.Random(repr(seed))
    return " ".join(rng.choices(WORDS, k=int(str(seed[2]))))


def totals(product: Product) -> tuple[int, int]:
    """(prompt tokens looked up, found) of both engines, from heartbeats of now."""
    now = product.query("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS at")[0]["at"]
    rows = wait_until(
        lambda: _heard_since(product, now), "a heartbeat of each worker", 30
    )
    return (
        sum(row["prefix_cache_queries_total"] or 0 for row in rows),
        sum(row["prefix_cache_hits_total"] or 0 for row in rows),
    )


def _heard_since(product: Product, moment: str) -> list[dict[str, int]]:
    rows = product.query("SELECT * FROM controller_worker")
    is_heard = all(str(row["last_heartbeat_at"]) > moment for row in rows)
    return rows if is_heard else []


def _row(policy: str, seen: Seen) -> str:
    deciles = statistics.quantiles(seen.ttfts, n=10)
    share = seen.found / max(1, seen.queried)
    return (
        f"| `{policy}` | {statistics.median(seen.ttfts):.1f} s | {deciles[8]:.1f} s"
        f" | {share:.0%} of {seen.queried:,} tokens |"
    )


if __name__ == "__main__":
    main()
