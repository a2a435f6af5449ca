"""The same code on the servers of a bigger installation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from django.conf import settings

from tests.servers import PostgresServer


def manage(*arguments: str, **environment: str) -> str:
    """What `manage.py` printed; its errors are raised with their text."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.postgres
def test_a_new_installation_can_live_in_postgresql(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    place = {"DATABASE_URL": postgres_server.new_database(), "VAR_DIR": str(tmp_path)}

    manage("migrate", "--verbosity", "0", **place)
    manage("bootstrap", **place)
    first = json.loads((tmp_path / "credentials.json").read_text())
    manage("bootstrap", "--port", "8123", **place)
    second = json.loads((tmp_path / "credentials.json").read_text())

    assert first["password"] == second["password"]
    assert second["base_url"] == "http://127.0.0.1:8123"
    assert not (tmp_path / "db.sqlite3").exists()


@pytest.mark.redis
def test_the_redis_of_the_tests_answers(redis_server: str) -> None:
    with redis.Redis.from_url(redis_server) as client:
        assert client.ping()
