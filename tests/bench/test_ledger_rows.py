"""A long ledger is made, rolled up and read in PostgreSQL as in SQLite."""

import os
import subprocess
import sys

import pytest

from tests.product import ROOT
from tests.servers import PostgresServer


@pytest.mark.postgres
def test_postgresql_adds_up_and_reads_a_ledger(postgres_server: PostgresServer):
    completed = subprocess.run(
        [sys.executable, "-m", "tests.bench.ledger_rows", "--rows=960", "--days=2"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": postgres_server.new_database()},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert completed.returncode == 0, completed.stderr
    printed = completed.stdout
    assert printed.startswith("postgresql: 960 rows")
    assert "47 hours" in printed
    assert "minutes with requests" in printed
    assert printed.count(" queries") >= 8
