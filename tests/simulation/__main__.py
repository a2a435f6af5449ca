"""`python -m tests.simulation`: simulate the fleet and write the figures down.

Takes about four minutes and rewrites the measured part of `docs/routing.md` and its
plots; nothing depends on the machine, and two runs write the same. With `--try` one
run is made and printed, to see what a change does.
"""

import argparse
import os
import tempfile

import django


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument(
        "--try",
        nargs=3,
        metavar=("POLICY", "WORKERS", "RATE"),
        dest="tried",
        help="such as `prefix_affinity 8 0.4`, the rate in requests/s a worker",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
        os.environ["VAR_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
        django.setup()
        if arguments.tried:
            policy, workers, rate = arguments.tried
            try_once(policy, int(workers), float(rate))
        else:
            measure()


def try_once(policy: str, num_workers: int, rate: float) -> None:
    # Here and below: models can be imported only once Django is set up.
    from tests.simulation.rounds import scenario
    from tests.simulation.simulate import simulate
    from tests.simulation.traces import SHARED

    outcome = simulate(scenario(policy, SHARED, num_workers, rate))
    print(
        f"TTFT p50 {outcome.ttft(50):.2f} s, p90 {outcome.ttft(90):.2f} s;"
        f" {outcome.turns_per_second:.3f} requests/s a worker,"
        f" {outcome.tokens_per_second:.0f} tokens/s written;"
        f" {outcome.hit_rate:.0%} of the prompts cached"
    )


def measure() -> None:
    from tests.bench.report import write_measured
    from tests.simulation.report import BLOCK, DOCUMENT, draw, report
    from tests.simulation.rounds import all_findings

    findings = all_findings()
    text = report(findings)
    print(text)
    draw(findings)
    write_measured(text, BLOCK, DOCUMENT)


if __name__ == "__main__":
    main()
