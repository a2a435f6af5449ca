"""The database goes away while requests are served, and comes back."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from controller.identity import secrets
from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, quick_product, set_up, wait_until
from tests.servers import PostgresServer


def test_a_locked_database_delays_rows_and_nobody(new_var_dir: Callable[[], Path]):
    with (
        running_mock_engine() as engine,
        quick_product(new_var_dir()) as product,
        joined(product, engine),
        closing(sqlite3.connect(product.var_dir / "db.sqlite3")) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        statuses = {product.chat().status for _ in range(20)}
        written_meanwhile = len(product.ledger())
        other.rollback()
        rows = wait_until(lambda: len(product.ledger()) == 20, "all rows")

    assert (statuses, written_meanwhile, rows) == ({200}, 0, True)


@contextmanager
def nobody_let_in(server: PostgresServer, url: str) -> Iterator[None]:
    """Who is connected to the database is thrown out, and nobody comes in."""
    name = url.rpartition("/")[2]
    address = f"host=127.0.0.1 port={server.port} user=switchyard dbname=postgres"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [name],
        )
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def num_rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM controller_ledgerentry")
        return row.fetchone()[0]


def database_state(product: Product) -> str:
    return product.call("GET", "/readyz").json["database"]


@pytest.mark.postgres
def test_a_lost_database_delays_rows_and_refuses_only_keys_never_seen(
    tmp_path: Path, postgres_server: PostgresServer
):
    url = postgres_server.new_database()
    set_up(tmp_path, {"DATABASE_URL": url})
    with (
        running_mock_engine() as engine,
        quick_product(tmp_path, DATABASE_URL=url) as product,
        joined(product, engine),
    ):
        with nobody_let_in(postgres_server, url):
            wait_until(lambda: database_state(product) == "failing", "the failure")
            statuses = {product.chat().status for _ in range(20)}
            stranger = secrets.make_secret(secrets.API_KEY)
            refused = product.call("GET", "/v1/models", stranger)
            time.sleep(1)  # ten tries to write the rows, of which none may lose them
        wait_until(lambda: num_rows(url) == 20, "all rows")
        wait_until(lambda: database_state(product) == "ok", "the recovery")

    assert statuses == {200}
    assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
