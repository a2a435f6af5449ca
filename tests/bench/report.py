"""The benchmark's findings as Markdown, printed and kept in `docs/performance.md`."""

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.chat import ChatCost
from tests.bench.chat_page import PageCost
from tests.bench.engines import AIM_RATIO, DTYPES, LEVELS, Rate, ratio
from tests.bench.limited import CONNECTIONS, LimitsCost
from tests.bench.overload import CAPACITY, DEMANDS, Overload
from tests.bench.rounds import Finding
from tests.product import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"

# What one core is to do, with key check and ledger on.
AIM_CPU_US = {"json": 400.0, "burst": 500.0}
AIM_SHARE_OF_PACE = 0.99
AIM_BEHIND_MS = 100.0
AIM_GOODPUT = 0.9
AIM_UNFAIRNESS = 0.1
AIM_RECOVERY_SECONDS = 1.0
AIM_LIMITS_RATIO = 1.15
AIM_IDLE_BYTES = 60_000


def report(
    findings: Sequence[Finding],
    overload: Overload | None,
    peak_rss_bytes: int,
    command: str,
) -> str:
    """Return the measured section: where and how, the tables, the aims, errors."""
    closed = [finding for finding in findings if finding.shape != "paced"]
    paced = [finding for finding in findings if finding.shape == "paced"]
    parts = [f"{machine_line()}  \nCommand: `{command}`"]
    if closed:
        parts.append(table(_CLOSED_COLUMNS, map(_closed_row, closed)))
    if paced:
        parts.append(table(_PACED_COLUMNS, map(_paced_row, paced)))
    if overload:
        parts.append(table(_OVERLOAD_COLUMNS, [_overload_row(overload)]))
    parts.append(
        f"Peak memory of the product over the whole run: {peak_rss_bytes / 2**20:.0f} "
        "MiB (sum of its processes' `VmHWM`)."
    )
    aims = [_aim_row(finding) for finding in findings]
    aims += _overload_aims(overload) if overload else []
    parts.append(table(("aim", "measured", "met"), aims))
    errors = error_lines(findings, overload)
    parts.append("\n".join(errors) if errors else "No request failed.")
    return "\n\n".join(parts) + "\n"


def error_lines(
    findings: Iterable[Finding], overload: Overload | None = None
) -> list[str]:
    """Return a line for each side of a finding that saw failed requests."""
    overloaded = dict(overload.errors) if overload else {}
    if overload and overload.num_hasty:
        overloaded["refusal without Retry-After"] = overload.num_hasty
    lines = [f"- **overload:** {count} x {kind}" for kind, count in overloaded.items()]
    return lines + [
        f"- **{finding.shape}, {finding.connections} connections, {side}:** "
        + ", ".join(f"{count} x {kind}" for kind, count in sorted(errors.items()))
        for finding in findings
        for side, errors in (
            ("direct", finding.direct.errors),
            ("product", finding.product.errors),
        )
        if errors
    ]


def engines_report(rates: Sequence[Rate], command: str) -> str:
    """Return the section of what real engines make: a row for each precision."""
    columns = (
        "precision",
        *(f"tokens/s, {level} at once" for level in LEVELS),
        *(f"per CPU second, {level} at once" for level in LEVELS),
        f"{LEVELS[-1]} to {LEVELS[0]}",
        f"aim: {AIM_RATIO}",
    )
    rows = [_rates_row([each for each in rates if each.dtype == of]) for of in DTYPES]
    head = f"{machine_line()}  \nCommand: `{command}`"
    load = f"Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    return f"{head}\n\n{table(columns, rows)}\n\n{load}\n"


def limits_report(costs: Sequence[LimitsCost], command: str) -> str:
    """Return the section of what limits cost: a row for each shape."""
    columns = (
        "shape",
        "bare key, CPU us/request",
        "limited key, CPU us/request",
        "limited / bare",
        f"aim: {AIM_LIMITS_RATIO}",
    )
    rows = [
        (
            f"{cost.shape}, {CONNECTIONS} connections",
            f"{cost.bare_us:.0f}",
            f"{cost.limited_us:.0f}",
            f"{cost.ratio:.3f}",
            _yes(cost.ratio <= AIM_LIMITS_RATIO),
        )
        for cost in costs
    ]
    errors = [
        f"{count} x {kind}" for cost in costs for kind, count in cost.errors.items()
    ]
    said = f"Failed: {', '.join(errors)}." if errors else "No request failed."
    head = f"{machine_line()}  \nCommand: `{command}`"
    return f"{head}\n\n{table(columns, rows)}\n\n{said}\n"


def chat_report(costs: Sequence[ChatCost], page: PageCost, command: str) -> str:
    """Return the section of the chat: a row for each number of sockets, and a page."""
    columns = (
        "sockets that stream 20 tokens/s each",
        "tokens",
        "later than the engine's pace, p50 / p99 / most, ms",
        "share of one core",
        "memory of an idle socket, kB",
        f"aim: {AIM_IDLE_BYTES // 1000} kB",
    )
    rows = [
        (
            str(cost.num_streams),
            f"{cost.num_tokens:,}",
            _lateness(cost),
            f"{cost.cpu_share:.0%}",
            f"{cost.idle_bytes / 1000:.1f}",
            _yes(cost.idle_bytes <= AIM_IDLE_BYTES),
        )
        for cost in costs
    ]
    errors = [
        f"{count} x {kind}" for cost in costs for kind, count in cost.errors.items()
    ]
    said = f"Failed: {', '.join(errors)}." if errors else "No answer failed."
    head = f"{machine_line()}  \nCommand: `{command}`"
    load = f"Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    return f"{head}\n\n{table(columns, rows)}\n\n{_page_table(page)}\n\n{said} {load}\n"


def _lateness(cost: ChatCost) -> str:
    times = (cost.late_p50_ms, cost.late_p99_ms, cost.late_most_ms)
    return " / ".join(f"{each:.1f}" for each in times)


def _page_table(page: PageCost) -> str:
    columns = (
        "messages of the conversation",
        "first paint, ms",
        "frames at 100 tokens/s, p50 / p99, ms",
        "longest task, ms",
        "layout shift",
    )
    row = (
        f"{page.num_messages:,}",
        f"{page.first_paint_ms:.0f}",
        f"{page.frame_p50_ms:.1f} / {page.frame_p99_ms:.1f}",
        f"{page.longest_task_ms:.0f}",
        f"{page.layout_shift:.3f}",
    )
    return table(columns, [row])


def _rates_row(rates: Sequence[Rate]) -> tuple[str, ...]:
    dtype, gained = rates[0].dtype, ratio(rates, rates[0].dtype)
    return (
        dtype,
        *(f"{each.tokens_per_second:.1f}" for each in rates),
        *(f"{each.tokens_per_cpu_second:.1f}" for each in rates),
        f"{gained:.1f}",
        _yes(gained >= AIM_RATIO),
    )


def write_measured(text: str, block: str, document: Path = DOCUMENT) -> None:
    """Replace what stands between the markers of that block in `document`.

    Raises ValueError if a marker is missing.
    """
    opening, closing = markers(block)
    before, begin, rest = document.read_text().partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        raise ValueError(f"{document} has no {opening} ... {closing} to write between.")
    document.write_text(f"{before}{opening}\n\n{text}\n{closing}{after}")


def markers(block: str) -> tuple[str, str]:
    """Return the lines around a block that the benchmark writes by itself."""
    return f"<!-- {block}: begin -->", f"<!-- {block}: end -->"


def machine_line() -> str:
    """Return date, commit, CPU, cores and Python of this run."""
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    cores = len(os.sched_getaffinity(0))
    day = f"{datetime.now(UTC):%d %B %Y}".lstrip("0")
    return (
        f"Measured on {day} at commit {revision or 'unknown'}: {_cpu_model()}, "
        f"{cores} core(s), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}."
    )


_CLOSED_COLUMNS = (
    "shape",
    "connections",
    "direct req/s",
    "product req/s",
    "p50 / p99 ms",
    "added p50 ms",
    "TTFT p50 / p99 ms",
    "CPU us/request",
    "CPU us/event",
    "cores busy",
)

_PACED_COLUMNS = (
    "streams",
    "events/s direct",
    "events/s product",
    "behind p50 / max ms, direct",
    "behind p50 / max ms, product",
    "gap p99 ms, direct / product",
    "TTFT p50 / p99 ms",
    "CPU us/event",
    "cores busy",
)


_OVERLOAD_COLUMNS = (
    "offered req/s",
    "answers/s direct",
    "answers/s product",
    "answers/s, flood / steady",
    "p50 wait s, flood / steady",
    "refused",
    "longest line",
    "memory grown MiB",
    "recovery s",
)


def _closed_row(finding: Finding) -> tuple[str, ...]:
    direct, product = finding.direct, finding.product
    is_stream = finding.shape != "json"
    return (
        finding.shape,
        str(finding.connections),
        f"{direct.requests_per_second:,.0f}",
        f"{product.requests_per_second:,.0f}",
        _pair(product.latency_p50_ms, product.latency_p99_ms),
        f"{finding.added_p50_ms:.2f}",
        _pair(product.ttft_p50_ms, product.ttft_p99_ms) if is_stream else "",
        f"{finding.cpu_us_per_request:.0f}",
        f"{finding.cpu_us_per_event:.1f}" if is_stream else "",
        f"{finding.cores_busy:.2f}",
    )


def _paced_row(finding: Finding) -> tuple[str, ...]:
    direct, product = finding.direct, finding.product
    return (
        str(finding.connections),
        f"{direct.events_per_second:,.0f}",
        f"{product.events_per_second:,.0f}",
        _pair(direct.behind_p50_ms, direct.behind_max_ms),
        _pair(product.behind_p50_ms, product.behind_max_ms),
        _pair(direct.gap_p99_ms, product.gap_p99_ms),
        _pair(product.ttft_p50_ms, product.ttft_p99_ms),
        f"{finding.cpu_us_per_event:.1f}",
        f"{finding.cores_busy:.2f}",
    )


def _aim_row(finding: Finding) -> tuple[str, ...]:
    product = finding.product
    place = f"{finding.shape}, {finding.connections} connections"
    if finding.shape == "paced":
        share = finding.share_of_pace
        is_met = share >= AIM_SHARE_OF_PACE and product.behind_max_ms <= AIM_BEHIND_MS
        aim = f"{AIM_SHARE_OF_PACE:.0%} of the pace, at most {AIM_BEHIND_MS:.0f} ms"
        measured = f"{share:.1%}, {product.behind_max_ms:.0f} ms"
        return f"{place}: {aim} behind", measured, _yes(is_met)
    aim_us = AIM_CPU_US[finding.shape]
    measured_us = finding.cpu_us_per_request
    return (
        f"{place}: {aim_us:.0f} us CPU per request",
        f"{measured_us:.0f} us",
        _yes(measured_us <= aim_us),
    )


def _overload_row(overload: Overload) -> tuple[str, ...]:
    answers, waits = overload.answers, overload.wait_p50_ms
    refused = ", ".join(
        f"{count:,} x {status}" for status, count in sorted(overload.refusals.items())
    )
    return (
        f"{sum(DEMANDS.values()) * CAPACITY:.0f}",
        f"{overload.direct_per_second:.1f}",
        f"{sum(answers.values()) / overload.seconds:.1f}",
        " / ".join(f"{count / overload.seconds:.1f}" for count in answers.values()),
        " / ".join(f"{wait / 1000:.1f}" for wait in waits.values()),
        refused,
        str(overload.longest_line),
        f"{overload.grown_bytes / 2**20:.0f}",
        f"{overload.recovery_seconds:.2f}",
    )


def _overload_aims(overload: Overload) -> list[tuple[str, ...]]:
    return [
        (
            f"overload: answers at {AIM_GOODPUT:.0%} of the capacity",
            f"{overload.goodput:.1%}",
            _yes(overload.goodput >= AIM_GOODPUT),
        ),
        (
            f"overload: both callers within {AIM_UNFAIRNESS:.0%}",
            f"{overload.unfairness:.1%}",
            _yes(overload.unfairness <= AIM_UNFAIRNESS),
        ),
        (
            f"overload: over within {AIM_RECOVERY_SECONDS:.0f} s",
            f"{overload.recovery_seconds:.2f} s",
            _yes(overload.recovery_seconds <= AIM_RECOVERY_SECONDS),
        ),
    ]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _pair(first: float, second: float) -> str:
    return f"{first:.2f} / {second:.2f}"


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "**no**"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
