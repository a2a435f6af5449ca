import socket
from pathlib import Path

import pytest
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
