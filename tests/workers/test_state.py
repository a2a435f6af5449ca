from pathlib import Path

from workers.state import Identity, open_state_dir, slug

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


def test_a_slug_is_a_safe_folder_name() -> None:
    assert slug("Org/Model 7B:chat") == "org-model-7b-chat"
    assert slug("../..") == "worker"
