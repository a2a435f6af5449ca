"""`python -m tests.bench`: measure gateway and engines and write the figures down.

A full run takes about ten minutes and rewrites the measured parts of
`docs/performance.md`; `--only gateway` or `--only engines` its own part. With any other
option the figures are only printed. `--quick` is noisy.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.chat import ChatCost, chat_cost
from tests.bench.chat_page import page_cost
from tests.bench.engines import Rate, engine_rates
from tests.bench.limited import LimitsCost, limits_cost
from tests.bench.overload import Overload, measure_overload
from tests.bench.report import (
    chat_report,
    engines_report,
    error_lines,
    limits_report,
    report,
    write_measured,
)
from tests.bench.rounds import SHAPES, Bench, Finding
from tests.bench.weight import on_core, usage_of
from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import Product, joined, running_product, set_up

GATEWAY, ENGINES, OVERLOAD, LIMITS = "gateway", "engines", "overload", "limits"
CHAT = "chat"
OF_GATEWAY = (*SHAPES, OVERLOAD)


def main() -> int:
    """Return 0 if every request of every round was answered as it should."""
    arguments = _parse_arguments()
    command = " ".join(["python -m tests.bench", *sys.argv[1:]])
    # What part of a measurement says is not to stand for all of it.
    is_full = not arguments.quick and arguments.server == "uvicorn"
    status = 0
    if ENGINES in arguments.only:
        text = _measure_engines(arguments, command)
        _show(text, ENGINES if is_full else None)
    if LIMITS in arguments.only:
        _show(_measure_limits(arguments, command), LIMITS if is_full else None)
    if CHAT in arguments.only:
        _show(_measure_chat(arguments, command), CHAT if is_full else None)
    if parts := tuple(part for part in arguments.only if part in OF_GATEWAY):
        text, status = _measure_gateway(arguments, parts, command)
        _show(text, GATEWAY if is_full and parts == OF_GATEWAY else None)
    return status


def _measure_engines(arguments: argparse.Namespace, command: str) -> str:
    rates: list[Rate] = []
    for found in engine_rates(num_rounds=1 if arguments.quick else 3):
        rates.append(found)
        print(
            f"{found.dtype}, {found.num_clients} at once: "
            f"{found.tokens_per_second:.1f} tokens/s",
            file=sys.stderr,
        )
    return engines_report(rates, command)


def _measure_limits(arguments: argparse.Namespace, command: str) -> str:
    costs: list[LimitsCost] = []
    with _pinned(arguments) as (engine, product):
        seconds, num_rounds = (1.0, 2) if arguments.quick else (4.0, 6)
        for cost in limits_cost(engine, product, seconds, num_rounds):
            costs.append(cost)
            print(f"{cost.shape}: limits cost {cost.ratio - 1:.1%}", file=sys.stderr)
    return limits_report(costs, command)


def _measure_chat(arguments: argparse.Namespace, command: str) -> str:
    costs: list[ChatCost] = []
    sizes, seconds = ((100,), 3.0) if arguments.quick else ((100, 500), 20.0)
    for num_streams in sizes:
        with _pinned(arguments) as (_engine, product):
            costs.append(chat_cost(product, "bench", num_streams, seconds))
        print(
            f"{num_streams} sockets: {costs[-1].late_p99_ms:.0f} ms late at p99, "
            f"{costs[-1].idle_bytes / 1000:.0f} kB each when idle",
            file=sys.stderr,
        )
    with _pinned(arguments) as (_engine, product):
        page = page_cost(product, "bench", seconds=4.0 if arguments.quick else 15.0)
    print(f"frames: {page.frame_p99_ms:.0f} ms at p99", file=sys.stderr)
    return chat_report(costs, page, command)


def _measure_gateway(
    arguments: argparse.Namespace, parts: tuple[str, ...], command: str
) -> tuple[str, int]:
    """Return the report, and 1 if a request failed."""
    with _pinned(arguments) as (engine, product):
        bench = Bench(
            engine=engine,
            product=product,
            seconds=1.0 if arguments.quick else 5.0,
            num_rounds=1 if arguments.quick else 3,
        )
        findings: list[Finding] = []
        shapes = tuple(part for part in parts if part in SHAPES)
        for finding in bench.findings(shapes):
            findings.append(finding)
            _show_progress(finding)
        overload = _overload(product, arguments, parts)
        peak_rss_bytes = usage_of(product.process.pid).peak_rss_bytes
    text = report(findings, overload, peak_rss_bytes, command)
    return text, 1 if error_lines(findings, overload) else 0


def _overload(
    product: Product, arguments: argparse.Namespace, parts: tuple[str, ...]
) -> Overload | None:
    if OVERLOAD not in parts:
        return None
    seconds = 4.0 if arguments.quick else 20.0
    overload = measure_overload(product, warm_up=2.0, seconds=seconds)
    print(f"overload: {overload.goodput:.0%} of capacity", file=sys.stderr)
    return overload


def _show(text: str, block: str | None) -> None:
    """Print the report, and keep it if it is of a whole block."""
    print(text)
    if block is not None:
        write_measured(text, block)


@contextmanager
def _pinned(arguments: argparse.Namespace) -> Iterator[tuple[MockEngine, Product]]:
    """The product on a core of its own and an engine that has joined it on another,
    which all the rest shares, ourselves too."""
    cores = sorted(os.sched_getaffinity(0))
    product_core, load_core = cores[0], cores[-1]
    if product_core == load_core:
        print("Only one core: product and load share it.", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        on_core(load_core),
        running_mock_engine(
            models=("bench",), keep_requests=100, context_length=1_000_000
        ) as engine,
        _pinned_product(Path(folder), arguments.server, product_core) as product,
        joined(product, engine, like="vllm" if arguments.movable else "mock"),
        _second_worker(product, is_there=arguments.movable),
    ):
        yield engine, product


@contextmanager
def _pinned_product(var_dir: Path, server: str, core: int) -> Iterator[Product]:
    """A new product that has `core`, while we stay where we are."""
    set_up(var_dir)
    with ExitStack() as stack:
        with on_core(core):
            product = stack.enter_context(
                running_product(var_dir, f"--server={server}")
            )
        yield product


@contextmanager
def _second_worker(product: Product, is_there: bool) -> Iterator[None]:
    """Somewhere to move streams to, so that they are remembered; it serves too."""
    with ExitStack() as stack:
        if is_there:
            engine = running_mock_engine(models=("bench",), keep_requests=100)
            worker = joined(product, stack.enter_context(engine), like="vllm")
            stack.enter_context(worker)
        yield


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 1 s each")
    parser.add_argument("--server", choices=("uvicorn", "daphne"), default="uvicorn")
    parser.add_argument(
        "--movable",
        action="store_true",
        help="two workers like vLLM, so that streams are remembered to be moved",
    )
    parser.add_argument(
        "--only",
        type=_parts,
        default=(*OF_GATEWAY, LIMITS, CHAT, ENGINES),
        metavar="PART,...",
        help=f"{GATEWAY} (all of {', '.join(OF_GATEWAY)}), one of these, {LIMITS},"
        f" {CHAT}, or {ENGINES}",
    )
    return parser.parse_args()


def _parts(text: str) -> tuple[str, ...]:
    parts = (*OF_GATEWAY, LIMITS, CHAT, ENGINES)
    wished = text.replace(GATEWAY, ",".join(OF_GATEWAY)).split(",")
    if unknown := set(wished) - set(parts):
        raise argparse.ArgumentTypeError(
            f"{', '.join(sorted(unknown))}: there are {', '.join((GATEWAY, *parts))}"
        )
    return tuple(part for part in parts if part in wished)


def _show_progress(finding: Finding) -> None:
    print(
        f"{finding.shape} x {finding.connections}: "
        f"{finding.product.requests_per_second:,.0f} req/s, "
        f"{finding.cpu_us_per_request:.0f} us CPU per request",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
