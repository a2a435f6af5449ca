"""Findings as the measured part of docs/routing.md: sentences, tables and plots."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.simulation.rounds import SWEPT_WORKERS, Findings
from tests.simulation.simulate import Outcome

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/routing.md"
IMAGES = DOCUMENT.parent / "images"
BLOCK = "simulated"
# As long as this engine takes to read one of the longest prompts. A p90 beyond it is
# waiting: it marks the knee, the most that a way of choosing carries.
KNEE_TTFT_SECONDS = 10.0
AIM_THROUGHPUT = 1.9
AIM_TTFT = 0.1
AIM_UNSHARED = 1.02
IDLE = 1
"""The place of a rate that all ways can carry."""

Ways = dict[str, list[Outcome]]


def report(findings: Findings) -> str:
    shared, unshared = findings.shared, findings.unshared
    knee = knee_of(shared["prefix_affinity"])
    return "\n\n".join(
        [
            _aims(shared, unshared, knee),
            "![Shared prompts: throughput and TTFT by offered load]"
            "(images/routing-shared.svg)",
            f"At the knee of `prefix_affinity`, {_rate(shared, knee):g} requests/s for"
            f" each of {SWEPT_WORKERS} workers, where the others have long been"
            " overrun:",
            _table_at(shared, knee),
            f"With room to spare, {_rate(shared, IDLE):g} requests/s for each:",
            _table_at(shared, IDLE),
            "![Growing fleets](images/routing-sizes.svg)",
            "The same load on each worker, in fleets of every size (hit rate, TTFT"
            " p90):",
            _size_table(findings.sizes),
            "![Nothing shared](images/routing-unshared.svg)",
            "Nothing shared, the most that was offered:",
            _table_at(unshared, -1),
        ]
    )


def knee_of(outcomes: Sequence[Outcome]) -> int:
    """The place of the highest rate up to which the first token comes soon enough."""
    knee = 0
    for at, outcome in enumerate(outcomes):
        if outcome.ttft(90) > KNEE_TTFT_SECONDS:
            break
        knee = at
    return knee


def worst_beside_least_load(ways: Ways) -> float:
    """The largest ratio of `prefix_affinity`'s TTFT to `least_load`'s, at any rate."""
    return max(
        affinity.ttft(percentile) / least.ttft(percentile)
        for affinity, least in zip(
            ways["prefix_affinity"], ways["least_load"], strict=True
        )
        for percentile in (50, 90)
    )


def _aims(shared: Ways, unshared: Ways, knee: int) -> str:
    affinity, turns = shared["prefix_affinity"][knee], shared["round_robin"][knee]
    most = max(each.tokens_per_second for each in shared["round_robin"])
    throughput = affinity.tokens_per_second / most
    ttft = affinity.ttft(90) / turns.ttft(90)
    worst = worst_beside_least_load(unshared)
    carried = [
        f"`{way}` {_rate(shared, knee_of(outcomes)):g}"
        if outcomes[0].ttft(90) <= KNEE_TTFT_SECONDS
        else f"`{way}` not even {_rate(shared, 0):g}"
        for way, outcomes in shared.items()
    ]
    rows = [
        (
            f"the most that `round_robin` writes at any rate, times {AIM_THROUGHPUT}",
            f"{throughput:.1f}",
            _met(throughput >= AIM_THROUGHPUT),
        ),
        (
            "TTFT p90 of `round_robin` at that rate, a tenth",
            f"1/{1 / ttft:.0f}",
            _met(ttft <= AIM_TTFT),
        ),
        (
            "nothing shared: TTFT at most 2 % over `least_load`'s",
            f"{(worst - 1) * 100:+.1f} %",
            _met(worst <= AIM_UNSHARED),
        ),
    ]
    return (
        _table(("aim for `prefix_affinity` at its knee", "found", "met"), rows)
        + "\n\nThe most requests/s for each worker with a TTFT p90 under"
        f" {KNEE_TTFT_SECONDS:g} s: {', '.join(carried)}."
    )


def _table_at(ways: Ways, at: int) -> str:
    rows = [
        (
            f"`{way}`",
            f"{outcomes[at].ttft(50):.2f} s",
            f"{outcomes[at].ttft(90):.2f} s",
            f"{outcomes[at].turns_per_second:.2f}",
            f"{outcomes[at].tokens_per_second:.0f}",
            f"{outcomes[at].hit_rate:.0%}",
        )
        for way, outcomes in ways.items()
    ]
    head = (
        "policy",
        "TTFT p50",
        "p90",
        "requests/s a worker",
        "tokens/s written",
        "hit rate",
    )
    return _table(head, rows)


def _size_table(sizes: Ways) -> str:
    first = next(iter(sizes.values()))
    rows = [
        (
            f"`{way}`",
            *(f"{each.hit_rate:.0%}, {each.ttft(90):.1f} s" for each in outcomes),
        )
        for way, outcomes in sizes.items()
    ]
    head = ("policy", *(f"{each.scenario.num_workers} workers" for each in first))
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _rate(ways: Ways, at: int) -> float:
    return next(iter(ways.values()))[at].scenario.turns_per_second


def _met(is_met: bool) -> str:
    return "yes" if is_met else "no"


# -- Plots -----------------------------------------------------------------------------

Measure = Callable[[Outcome], float]


def draw(findings: Findings, folder: Path = IMAGES) -> None:
    """Write the plots as SVG files; equal findings give equal files."""
    folder.mkdir(exist_ok=True)
    _draw(
        folder / "routing-shared.svg",
        f"Shared system prompts, {SWEPT_WORKERS} workers",
        findings.shared,
        _offered,
        "requests/s offered to each worker",
    )
    _draw(
        folder / "routing-unshared.svg",
        f"Nothing shared, {SWEPT_WORKERS} workers",
        findings.unshared,
        _offered,
        "requests/s offered to each worker",
    )
    _draw(
        folder / "routing-sizes.svg",
        "Shared system prompts, the same load on each worker",
        findings.sizes,
        lambda outcome: outcome.scenario.num_workers,
        "workers",
        is_logarithmic=True,
    )


def _offered(outcome: Outcome) -> float:
    return outcome.scenario.turns_per_second


# Okabe and Ito's colours, which colour-blind readers can tell apart, and a mark each.
STYLES = {
    "lottery": ("#999999", "v", ":"),
    "round_robin": ("#E69F00", "s", "--"),
    "round_robin + sessions": ("#CC79A7", "P", "--"),
    "shortest_queue": ("#56B4E9", "^", "-."),
    "least_load": ("#009E73", "D", "-."),
    "prefix_affinity": ("#D55E00", "o", "-"),
}


def _draw(
    file: Path,
    title: str,
    ways: Ways,
    across: Measure,
    label: str,
    is_logarithmic: bool = False,
) -> None:
    import matplotlib  # heavy, and of use here only

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.hashsalt": "switchyard", "svg.fonttype": "none", "font.size": 9}
    )
    from matplotlib import pyplot

    panels: list[tuple[str, Measure, str]] = [
        ("requests/s answered by each worker", lambda o: o.turns_per_second, "linear"),
        ("TTFT p90, seconds", lambda o: o.ttft(90), "log"),
        ("prompt tokens found in the cache, %", lambda o: o.hit_rate * 100, "linear"),
    ]
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(11, 3.4), layout="constrained"
    )
    for axis, (name, measure, scale) in zip(axes, panels, strict=True):
        for way, outcomes in ways.items():
            colour, mark, line = STYLES[way]
            axis.plot(
                [across(each) for each in outcomes],
                [measure(each) for each in outcomes],
                color=colour,
                marker=mark,
                linestyle=line,
                markersize=4,
                label=way,
            )
        axis.set(title=name, xlabel=label, yscale=scale)
        axis.grid(alpha=0.3, which="both" if scale == "log" else "major")
        if scale == "log":
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(pyplot.NullFormatter())
        if is_logarithmic:
            axis.set_xscale("log")
            points = [across(each) for each in next(iter(ways.values()))]
            axis.set_xticks(points, [f"{point:g}" for point in points])
            axis.minorticks_off()
    axes[0].set_ylim(bottom=0)
    axes[2].set_ylim(0, 100)
    figure.suptitle(title)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(ways))
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
