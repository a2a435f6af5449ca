import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workers.errors import BadStateDir
from workers.state import Identity, open_state_dir, owned_state_dir, slug

IDENTITY = Identity(controller="http://c", worker_id="7", credential="secret")


def test_the_credential_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    state = open_state_dir(tmp_path / "workers/tiny")

    state.write_identity(IDENTITY)

    assert (tmp_path / "workers/tiny").stat().st_mode & 0o777 == 0o700
    file = tmp_path / "workers/tiny/identity.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.path.iterdir()] == ["identity.json"]


def test_an_identity_is_shown_only_to_the_controller_that_gave_it(
    tmp_path: Path,
) -> None:
    state = open_state_dir(tmp_path)
    state.write_identity(IDENTITY)

    assert state.read_identity("http://c") == IDENTITY
    assert state.read_identity("http://other") is None


def test_a_damaged_identity_counts_as_none(tmp_path: Path) -> None:
    state = open_state_dir(tmp_path)
    (tmp_path / "identity.json").write_text('{"controller":')

    assert state.read_identity("http://c") is None


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    state = open_state_dir(tmp_path)
    state.write_identity(IDENTITY)

    with full_disk(), pytest.raises(BadStateDir, match=f"{tmp_path} cannot be written"):
        state.write_engine_key("key")

    assert state.read_identity("http://c") == IDENTITY
    assert [path.name for path in tmp_path.iterdir()] == ["identity.json"]


def test_a_folder_is_one_workers_at_a_time(tmp_path: Path) -> None:
    with (
        owned_state_dir(tmp_path),
        pytest.raises(BadStateDir, match=f"Another worker runs with .*{tmp_path}"),
        owned_state_dir(tmp_path),
    ):
        pass

    with owned_state_dir(tmp_path) as state:
        assert state.path == tmp_path


def test_a_slug_is_a_safe_folder_name() -> None:
    assert slug("Org/Model 7B:chat") == "org-model-7b-chat"
    assert slug("../..") == "worker"
