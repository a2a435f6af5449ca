"""`python -m tests.bench`: measure the product and write the figures down.

A full run takes about five minutes and rewrites the measured part of
`docs/performance.md`; with any option the figures are only printed. `--quick` takes
under a minute and is noisy.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.report import error_lines, report, write_measured
from tests.bench.rounds import SHAPES, Bench, Finding
from tests.bench.weight import on_core, usage_of
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, running_product, set_up


def main() -> int:
    """Return 0 if every request of every round was answered as it should."""
    arguments = _parse_arguments()
    # The product has one core for itself; all the rest shares another, ourselves too.
    cores = sorted(os.sched_getaffinity(0))
    product_core, load_core = cores[0], cores[-1]
    if product_core == load_core:
        print("Only one core: product and load share it.", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        on_core(load_core),
        running_mock_engine(models=("bench",), keep_requests=100) as engine,
        _pinned_product(Path(folder), arguments.server, product_core) as product,
        joined(product, engine),
    ):
        bench = Bench(
            engine=engine,
            product=product,
            seconds=1.0 if arguments.quick else 5.0,
            num_rounds=1 if arguments.quick else 3,
        )
        findings: list[Finding] = []
        for finding in bench.findings(arguments.only):
            findings.append(finding)
            _show_progress(finding)
        peak_rss_bytes = usage_of(product.process.pid).peak_rss_bytes
    command = " ".join(["python -m tests.bench", *sys.argv[1:]])
    text = report(findings, peak_rss_bytes, command)
    print(text)
    if len(sys.argv) == 1:
        write_measured(text)
    return 1 if error_lines(findings) else 0


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


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 1 s each")
    parser.add_argument("--server", choices=("uvicorn", "daphne"), default="uvicorn")
    parser.add_argument(
        "--only",
        type=_shapes,
        default=SHAPES,
        metavar="SHAPE,...",
        help=f"of {','.join(SHAPES)}",
    )
    return parser.parse_args()


def _shapes(text: str) -> tuple[str, ...]:
    unknown = set(text.split(",")) - set(SHAPES)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(sorted(unknown))}: the shapes are {', '.join(SHAPES)}"
        )
    return tuple(text.split(","))


def _show_progress(finding: Finding) -> None:
    print(
        f"{finding.shape} x {finding.connections}: "
        f"{finding.product.requests_per_second:,.0f} req/s, "
        f"{finding.cpu_us_per_request:.0f} us CPU per request",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
