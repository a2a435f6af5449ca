"""Readers of the environment: a bad value names itself and what would be right."""

import multiprocessing
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import env, var

NAME = "SWITCHYARD_TEST_VALUE"
SQLITE = Path("/var/lib/x.sqlite3")


def read_choice(name: str) -> str:
    return env.choice(name, "a", ("a", "b"))


def read_networks(name: str) -> list[env.Network]:
    return env.networks(name, ("10.0.0.0/8",))


def read_boolean(name: str) -> bool:
    return env.boolean(name, default=True)


def read_integer(name: str) -> int:
    return env.integer(name, default=7, minimum=1)


def read_percentages(name: str) -> list[int]:
    return env.percentages(name, default=(50,))


def read_seconds(name: str) -> timedelta:
    return env.seconds(name, default=0.5)


@pytest.mark.parametrize(
    ("read", "raw", "value"),
    [
        (read_boolean, "off", False),
        (read_boolean, " TRUE ", True),
        (read_integer, "12", 12),
        (read_percentages, "100, 80,80,", [80, 100]),
        (read_seconds, "1.5", timedelta(seconds=1.5)),
        (read_choice, "b", "b"),
        (
            read_networks,
            "::1, 10.1.0.0/16",
            [ip_network("::1"), ip_network("10.1.0.0/16")],
        ),
        (env.text, " a b ", "a b"),
        (env.listing, "a, ,b,", ["a", "b"]),
    ],
)
def test_a_good_value_is_read(monkeypatch, read, raw, value):
    monkeypatch.setenv(NAME, raw)

    assert read(NAME) == value


@pytest.mark.parametrize("raw", [None, "", "  "])
def test_unset_and_empty_mean_the_default(monkeypatch, raw):
    if raw is not None:
        monkeypatch.setenv(NAME, raw)

    assert read_boolean(NAME) is True
    assert read_integer(NAME) == 7
    assert read_percentages(NAME) == [50]
    assert read_seconds(NAME) == timedelta(seconds=0.5)
    assert read_choice(NAME) == "a"
    assert read_networks(NAME) == [ip_network("10.0.0.0/8")]
    assert env.listing(NAME, ("x",)) == ["x"]
    assert env.text(NAME, "default") == "default"


@pytest.mark.parametrize(
    ("read", "raw", "wanted"),
    [
        (read_boolean, "maybe", "write 1 or 0"),
        (read_integer, "1.5", "whole number of at least 1"),
        (read_integer, "0", "whole number of at least 1"),
        (read_integer, "9" * 5000, "whole number"),
        (read_percentages, "0", "whole numbers from 1 to 100"),
        (read_percentages, "50, 101", "whole numbers from 1 to 100"),
        (read_percentages, "half", "such as 50, 80, 100"),
        (read_percentages, ",", "such as 50, 80, 100"),
        (read_seconds, "soon", "positive number of seconds"),
        (read_seconds, "0", "positive number of seconds"),
        (read_seconds, "nan", "positive number of seconds"),
        (read_seconds, "inf", "positive number of seconds"),
        (read_choice, "B", "one of a, b"),
        (read_networks, "10.0.0.0/99", "10.0.0.0/8"),
        (read_networks, "10.0.0.1/8", "10.0.0.0/8"),
    ],
)
def test_a_bad_value_names_variable_value_and_repair(monkeypatch, read, raw, wanted):
    monkeypatch.setenv(NAME, raw)

    with pytest.raises(ImproperlyConfigured) as caught:
        read(NAME)

    assert f"{NAME}={raw!r}" in str(caught.value)
    assert wanted in str(caught.value)


# -- Secrets ---------------------------------------------------------------------------


def test_a_secret_is_read_from_a_file_unless_it_is_given(monkeypatch, tmp_path):
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    monkeypatch.setenv(f"{NAME}_FILE", str(file))

    assert env.secret(NAME) == "from the file"
    monkeypatch.setenv(NAME, "given")
    assert env.secret(NAME) == "given"


def test_several_secrets_stand_in_one_file(monkeypatch, tmp_path):
    file = tmp_path / "secrets"
    file.write_text("new, old\n")
    monkeypatch.setenv(f"{NAME}_FILE", str(file))

    assert env.secrets(NAME) == ["new", "old"]


def test_a_secret_file_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "missing"))

    with pytest.raises(ImproperlyConfigured, match=f"{NAME}_FILE=.*missing"):
        env.secret(NAME)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\x00"])
def test_a_secret_file_without_a_secret_is_named(monkeypatch, tmp_path, content):
    file = tmp_path / "secret"
    file.write_bytes(content)
    monkeypatch.setenv(f"{NAME}_FILE", str(file))

    with pytest.raises(ImproperlyConfigured, match=f"{NAME}_FILE="):
        env.secret(NAME)


# -- Databases -------------------------------------------------------------------------


def test_a_database_url_is_taken_apart(monkeypatch):
    url = "postgres://me:p%40ss%2Fword@[::1]:5433/the%20site"
    monkeypatch.setenv(NAME, url)

    read = env.database(NAME, SQLITE)

    assert read["ENGINE"] == "django.db.backends.postgresql"
    assert (read["USER"], read["PASSWORD"]) == ("me", "p@ss/word")
    assert (read["HOST"], read["PORT"], read["NAME"]) == ("::1", "5433", "the site")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", "/var/lib/x.sqlite3"),
        ("sqlite:////srv/db.sqlite3", "/srv/db.sqlite3"),
        ("sqlite:///db.sqlite3", "db.sqlite3"),
    ],
)
def test_sqlite_is_the_default_and_waits_for_its_turn(monkeypatch, url, path):
    monkeypatch.setenv(NAME, url)

    read = env.database(NAME, SQLITE)

    assert read["NAME"] == path
    assert read["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "WAL" in read["OPTIONS"]["init_command"]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:hush@host/name",
        "postgres://me:hush@host",
        "postgres://me:hush@host:port/name",
        "postgres://me:hush@host:99999/name",
        "postgres://me:hush@[::1/name",
        "nonsense",
    ],
)
def test_a_bad_database_url_is_refused_without_its_password(monkeypatch, url):
    monkeypatch.setenv(NAME, url)

    with pytest.raises(ImproperlyConfigured, match=NAME) as caught:
        env.database(NAME, SQLITE)

    assert "postgres://user:password@host" in str(caught.value)
    assert "hush" not in str(caught.value)


# -- Generated secrets -----------------------------------------------------------------


def keep(path: Path, number: int, queue: "multiprocessing.Queue[str]") -> None:
    queue.put(var.kept_secret(path, f"generated by {number}"))


def test_processes_that_start_at_once_end_with_one_secret(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    path = tmp_path / "secret"
    starting = [
        context.Process(target=keep, args=(path, number, queue)) for number in range(4)
    ]
    for process in starting:
        process.start()
    kept = {queue.get(timeout=60) for _ in starting}
    for process in starting:
        process.join()

    assert kept == {path.read_text()}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_kept_secret_stays(tmp_path):
    first = var.secret_key(tmp_path)

    assert var.secret_key(tmp_path) == first
    assert len(first) >= 50
    assert var.field_key(tmp_path) != first


def test_the_folder_is_closed_to_others(tmp_path):
    folder = var.prepare(tmp_path / "a" / "var")

    assert folder.stat().st_mode & 0o777 == 0o700
    assert var.prepare(folder) == folder


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ImproperlyConfigured, match=r"VAR_DIR=.*file"):
        var.prepare(tmp_path / "file" / "var")
    with pytest.raises(ImproperlyConfigured, match="cannot be written"):
        var.kept_secret(tmp_path / "missing" / "secret", "x")


def test_a_kept_secret_that_is_empty_or_unreadable_is_named(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "folder").mkdir()

    with pytest.raises(ImproperlyConfigured, match="empty"):
        var.kept_secret(tmp_path / "empty", "x")
    with pytest.raises(ImproperlyConfigured, match=r"folder.*cannot be read"):
        var.kept_secret(tmp_path / "folder", "x")
