import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from pytest_django import Settings

from controller.standalone import console
from controller.standalone.place import CannotRun, Place, only_one
from tests.servers import free_port


@pytest.fixture(autouse=True)
def var_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.VAR_DIR = tmp_path
    return tmp_path


def test_a_port_in_use_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]

        with (
            pytest.raises(CannotRun, match=f"PORT={taken + 1} make run"),
            only_one(Place("127.0.0.1", taken)),
        ):
            pass


def test_a_host_that_is_elsewhere_is_refused_as_such() -> None:
    with (
        pytest.raises(CannotRun, match="set HOST"),
        only_one(Place("192.0.2.1", free_port())),  # an address for documentation
    ):
        pass


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "http", "'http' is not a port"),
        ("PORT", "70000", "'70000' is not a port"),
        ("ENGINE", "sglang", "not one of transformers, vllm"),
    ],
)
def test_a_bad_variable_is_named_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(CommandError, match=said):
        call_command("run")


def test_a_database_that_is_down_is_said_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "run", "--port", str(free_port())],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "VAR_DIR": str(tmp_path),
            "DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/none",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "database of DATABASE_URL down" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_is_used_by_one_at_a_time() -> None:
    with (
        only_one(Place("127.0.0.1", free_port())),
        pytest.raises(CannotRun, match="in use by another"),
        only_one(Place("127.0.0.1", free_port())),
    ):
        pass

    with only_one(Place("127.0.0.1", free_port())):
        pass


def test_tls_is_left_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERTFILE", "/some/cert.pem")

    with (
        pytest.raises(CannotRun, match="plain HTTP"),
        only_one(Place("127.0.0.1", free_port())),
    ):
        pass


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_workers_and_people_on_this_machine_get_an_address_that_works(
    host: str, url: str
) -> None:
    assert Place(host, 8000).addresses.base_url == url


def test_the_public_address_is_what_people_are_told(settings: Settings) -> None:
    settings.PUBLIC_URL = "https://llm.example.org"
    place = Place("127.0.0.1", 8000)

    assert place.addresses.fields()["api_base"] == "https://llm.example.org/v1"
    assert place.local_url == "http://127.0.0.1:8000"


def test_lost_credentials_are_said_with_the_way_to_new_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.show_welcome(Place("127.0.0.1", 8000), None)

    shown = capsys.readouterr().out
    assert "http://127.0.0.1:8000/admin/" in shown
    assert "bootstrap --renew" in shown
