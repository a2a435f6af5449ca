"""How many tokens a second the transformers engine makes, alone and for many.

`python -m tests.workers.throughput` starts a real worker in each precision, asks it
over HTTP and prints a table; quiet machines give the figures of docs/performance.md.
"""

import argparse
import json
import os
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import engines
from tests.engines import RunningWorker

PROMPT = [{"role": "user", "content": "Tell me a long story about a fox and a hen."}]


def tokens_per_second(
    worker: RunningWorker, num_clients: int, num_tokens: int
) -> float:
    """Return the tokens per second over all of `num_clients`, each asking once."""
    with ThreadPoolExecutor(num_clients) as clients:
        started_at = time.monotonic()
        made = clients.map(lambda _: _ask(worker, num_tokens), range(num_clients))
        num_made = sum(made)
        return num_made / (time.monotonic() - started_at)


def _ask(worker: RunningWorker, num_tokens: int) -> int:
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.workers.throughput")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2, help="the best counts")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.clients.split(",")]
    print(
        "| precision |", " | ".join(f"{count} at once" for count in counts), "| load |"
    )
    for dtype in arguments.dtypes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            flags = ("--dtype", dtype, "--device", "cpu")
            with engines.start_model_worker(Path(folder), flags=flags) as worker:
                tokens_per_second(worker, 1, 8)  # warm
                best = [
                    max(
                        tokens_per_second(worker, count, arguments.tokens)
                        for _ in range(arguments.rounds)
                    )
                    for count in counts
                ]
        cells = " | ".join(f"{figure:.1f}" for figure in best)
        print(f"| {dtype} | {cells} | {os.getloadavg()[0]:.1f} |")


if __name__ == "__main__":
    main()
