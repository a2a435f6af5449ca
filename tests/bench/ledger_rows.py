"""A long ledger, made fast, and what its pages take.

`python -m tests.bench.ledger_rows` makes the rows in a new database: SQLite in a
temporary folder, or where DATABASE_URL says. Users differ in how much they ask, as
people do, and each has one or two models.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

NUM_USERS, NUM_TEAMS, NUM_MODELS = 500, 20, 8
# One statement an hour. `u` is spread evenly over [0, 1): cubed, few users ask most.
ROWS_OF_AN_HOUR = """
INSERT INTO controller_ledgerentry (request_id, client_request_id, face, endpoint,
  user_id, key_id, team_id, model, worker_id, stream, status, error_code, finish_reason,
  prompt_tokens, cached_tokens, completion_tokens, cost_nanos, tokens_estimated,
  num_retries, num_moves, ttft_seconds, duration_seconds, overhead_seconds, created_at)
SELECT 'made-' || %(number)s || '-' || i, '', CASE WHEN i %% 5 = 0 THEN 'chat' ELSE
  'api' END, '/v1/chat/completions', who, who, who %% {teams},
  'model-' || ((who + CASE WHEN i %% 10 = 0 THEN 1 ELSE 0 END) %% {models}), NULL,
  {true},
  CASE WHEN i %% 97 = 0 THEN 502 WHEN i %% 41 = 0 THEN 429 ELSE 200 END, '', 'stop',
  100 + i %% 900, i %% 100, 50 + i %% 400, 1000 * (i %% 700), {false}, 0, 0,
  0.1 + (i %% 50) / 100.0, 1.0 + (i %% 300) / 100.0, 0.001, %(begins_at)s
FROM (SELECT i, 1 + CAST({users} * u * u * u AS INTEGER) AS who FROM
  (SELECT i, ((i * 7919 + %(number)s * 104729) %% 10007) / 10007.0 AS u FROM {series}) a
) b
"""
SERIES = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
    " WHERE i < %(rows)s) SELECT i FROM n) s",
    "postgresql": "generate_series(1, %(rows)s) AS s(i)",
}
# A page with rows asks besides for the names of users, keys and teams that it shows.
NUM_NAMES = 3
PAGES = [
    *(f"/admin/?{asked}" for asked in ("days=1", "days=7&by=team", "days=30&by=face")),
    *(f"/usage/?days={days}" for days in (7, 30, 90, 365)),
    *(f"/admin/usage/?days={days}" for days in (7, 30, 90, 365)),
    "/admin/controller/ledgerentry/",
]


def make_rows(num_rows: int, num_days: int) -> int:
    """Fill the ledger of the past so many days; how many rows it has then."""
    from django.db import connection, transaction
    from django.utils.timezone import now

    from controller.models import LedgerHour
    from controller.models.usage import HOUR, hour_of

    num_hours = num_days * 24
    rows = -(-num_rows // num_hours)
    statement = ROWS_OF_AN_HOUR.format(
        users=NUM_USERS,
        teams=NUM_TEAMS,
        models=NUM_MODELS,
        series=SERIES[connection.vendor],
        true=1 if connection.vendor == "sqlite" else "TRUE",
        false=0 if connection.vendor == "sqlite" else "FALSE",
    )
    this_hour = hour_of(now())
    starts = [this_hour - number * HOUR for number in range(num_hours)]
    for first in range(0, num_hours, 24):
        with transaction.atomic(), connection.cursor() as cursor:
            for number, start in enumerate(starts[first : first + 24], first):
                moment = connection.ops.adapt_datetimefield_value(start)
                values = {"number": number, "rows": rows, "begins_at": moment}
                cursor.execute(statement, values)
    LedgerHour.objects.bulk_create(
        [LedgerHour(begins_at=start, num_written=rows) for start in starts],
        batch_size=1000,
    )
    return rows * num_hours


def measure(path: str, user: Any, times: int = 5) -> int:
    """Print what one page takes, the median of some times, and return its queries."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    client.get(path)  # templates are compiled
    taken = []
    for _ in range(times):
        begun_at = time.perf_counter()
        with CaptureQueriesContext(connection) as queries:
            response = client.get(path)
        taken.append(time.perf_counter() - begun_at)
    assert response.status_code == 200, response
    median = sorted(taken)[len(taken) // 2]
    print(f"{path:45} {median * 1000:8.0f} ms  {len(queries)} queries", flush=True)
    return len(queries)


def measure_pages(user: Any) -> dict[str, int]:
    """How many queries each page takes; prints its time too."""
    return {path: measure(path, user) for path in PAGES}


def timed(what: str, job: Callable[[], Any]) -> None:
    begun_at = time.perf_counter()
    result = job()
    print(f"{what:45} {time.perf_counter() - begun_at:8.1f} s   {result}", flush=True)


def num_minutes() -> int:
    """How many of the latest day had requests, as the usage API reads them."""
    from django.utils.timezone import now

    from controller.ledger.usage import UsageReader
    from controller.models.usage import DAY

    return len(UsageReader(now() - DAY, now()).by_minute())


def make_people() -> Any:
    """An operator who is also the busiest user."""
    from tests.factories import make_key, make_operator, make_team, make_user

    teams = [make_team(name=f"team {number}") for number in range(NUM_TEAMS)]
    operator = make_operator(username="operator")
    users = [operator, *(make_user() for _ in range(NUM_USERS - 1))]
    for number, user in enumerate(users):
        make_key(user, team=teams[number % NUM_TEAMS])
    return operator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=399)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="switchyard-ledger-") as folder:
        os.environ["VAR_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
        import django

        django.setup()
        run(options.rows, options.days)


def run(num_rows: int, num_days: int) -> None:
    from django.core.management import call_command
    from django.db import connection

    from controller.ledger.rollups import roll_up
    from controller.models import UsageDay, UsageHour

    call_command("migrate", verbosity=0)
    operator = make_people()
    print(f"{connection.vendor}: {num_rows:,} rows of {num_days} days")
    print("with an empty ledger")
    before = measure_pages(operator)
    timed("making the rows", lambda: make_rows(num_rows, num_days))
    if connection.vendor == "postgresql":
        connection.cursor().execute("VACUUM ANALYZE")
    timed("rolling up", lambda: f"{roll_up()} hours")
    if connection.vendor == "postgresql":
        connection.cursor().execute("VACUUM ANALYZE")
    print(f"hours {UsageHour.objects.count():,}, days {UsageDay.objects.count():,}")
    for path, num_queries in measure_pages(operator).items():
        assert num_queries <= before[path] + NUM_NAMES, path
    timed("a day by minutes", lambda: f"{num_minutes()} minutes with requests")


if __name__ == "__main__":
    sys.exit(main())
