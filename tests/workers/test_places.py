"""Which folder and which port a worker takes, started again among others."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import free_port
from workers.config import WorkerConfig
from workers.errors import StateDirInUse
from workers.places import own_place
from workers.state import Identity, open_state_dir

HOST = "127.0.0.1"
CONTROLLER = "http://c"


def config(name: str = "qwen", **fields: object) -> WorkerConfig:
    settings = {"controller": CONTROLLER, "labels": {}, **fields}
    return WorkerConfig(model_path=name, names=(name,), **settings)


def known_folder(name: str, controller: str = CONTROLLER) -> Path:
    """The folder of a worker that has been taken by the controller."""
    state = open_state_dir(Path("var/workers") / name)
    state.write_identity(
        Identity(controller=controller, worker_id=name, credential="secret")
    )
    return state.path


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield int(server.getsockname()[1])


def test_a_worker_takes_its_own_folder_and_port_again() -> None:
    with own_place(config(), HOST) as (first, port):
        known_folder(first.path.name)

    with own_place(config(), HOST) as again:
        assert (again[0].path, again[1].number) == (first.path, port.number)


def test_a_worker_whose_port_another_has_keeps_its_folder(taken_port: int) -> None:
    folder = known_folder(f"qwen-{taken_port}")

    with own_place(config(), HOST) as (state, port):
        assert state.path == folder
        assert port.number != taken_port


def test_two_workers_of_one_name_have_a_folder_each() -> None:
    with own_place(config(), HOST) as (first, _):
        known_folder(first.path.name)
        with own_place(config(), HOST) as (second, _):
            assert second.path != first.path


def test_a_new_worker_on_the_port_of_one_that_moved_gets_a_folder_of_its_own() -> None:
    with ExitStack() as stack:
        with socket.create_server((HOST, 0)) as server:
            port = server.getsockname()[1]
            known_folder(f"qwen-{port}")
            stack.enter_context(own_place(config(), HOST))

        state, _ = stack.enter_context(own_place(config(port=port), HOST))

        assert state.path.name == f"qwen-{port}.2"


@pytest.mark.parametrize("name", ["qwen-2-21999", "qwen2-21999", "qwen-21999.bak"])
def test_a_folder_of_another_model_is_left_alone(name: str) -> None:
    known_folder(name)

    with own_place(config(), HOST) as (state, _):
        assert state.path.name != name


def test_a_folder_known_to_another_controller_is_left_alone() -> None:
    folder = known_folder("qwen-21999", "http://other")

    with own_place(config(), HOST) as (state, _):
        assert state.path != folder


def test_a_port_that_is_given_says_which_worker_is_meant() -> None:
    known_folder("qwen-21999")
    port = free_port()

    with own_place(config(port=port), HOST) as (state, reserved):
        assert (state.path.name, reserved.number) == (f"qwen-{port}", port)


def test_a_folder_that_is_given_is_taken_or_nothing(tmp_path: Path) -> None:
    given = config(state_dir=tmp_path / "mine")
    with own_place(given, HOST) as (state, _):
        assert state.path == tmp_path / "mine"
        with pytest.raises(StateDirInUse), own_place(given, HOST):
            pass
