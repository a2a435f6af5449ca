"""`python -m tests.soak --minutes 10`: exit status 0 if nothing grew."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.product import set_up
from tests.soak.readings import MEGABYTE, Reading
from tests.soak.running import growths, running_soak, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--server", choices=("uvicorn", "daphne"), default="uvicorn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        var_dir = Path(folder)
        set_up(var_dir)
        with running_soak(var_dir, f"--server={arguments.server}") as (product, mortal):
            readings, users = asyncio.run(soak(product, mortal, arguments.minutes * 60))
    print("\n".join(map(_line, readings)))
    print(f"{users.outcomes.total()} requests: {dict(users.outcomes.most_common())}")
    grown = growths(readings)
    print("\n".join(grown) or "nothing grew")
    return 1 if grown else 0


def _line(reading: Reading) -> str:
    return (
        f"{reading.at_seconds:8.0f} s  {reading.rss_bytes / MEGABYTE:7.1f} MB"
        f"  {reading.descriptors:4d} descriptors  {reading.tasks:4d} tasks"
        f"  {reading.slots_taken:3d} slots"
    )


if __name__ == "__main__":
    sys.exit(main())
