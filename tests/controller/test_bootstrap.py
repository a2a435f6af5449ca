import json
import stat
from pathlib import Path

import pytest
from pytest_django import Settings

from controller import bootstrap
from controller.bootstrap import Addresses, Credentials
from controller.identity import secrets
from controller.models import ApiKey, JoinToken, User
from tests.factories import make_user

pytestmark = pytest.mark.django_db
HERE = Addresses("http://127.0.0.1:8000", "some-model")


@pytest.fixture(autouse=True)
def var_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.VAR_DIR = tmp_path
    return tmp_path


def first_bootstrap() -> Credentials:
    made = bootstrap.bootstrap(HERE)
    assert made is not None
    return made


def test_what_it_writes_is_what_signs_in(var_dir: Path) -> None:
    first_bootstrap()

    written = json.loads((var_dir / "credentials.json").read_text())
    operator = User.objects.get(username=written["username"])
    key = ApiKey.objects.active().get(digest=secrets.digest(written["api_key"]))
    token = JoinToken.objects.usable().get(digest=secrets.digest(written["join_token"]))
    assert operator.is_superuser
    assert operator.check_password(written["password"])
    assert (key.user, key.scopes) == (operator, ["inference", "fleet"])
    assert token.is_reusable
    assert written["api_base"] == "http://127.0.0.1:8000/v1"
    assert written["model"] == "some-model"


def test_only_the_owner_may_read_what_it_writes(var_dir: Path) -> None:
    first_bootstrap()

    for name in ("credentials.json", "join_token"):
        assert stat.S_IMODE((var_dir / name).stat().st_mode) == 0o600


def test_a_second_time_changes_nothing_but_the_addresses() -> None:
    first = first_bootstrap()

    second = bootstrap.bootstrap(Addresses("http://127.0.0.1:8123", "some-model"))

    assert second == Credentials.read()
    assert second is not None
    assert second.admin_url == "http://127.0.0.1:8123/admin/"
    assert (second.password, second.api_key) == (first.password, first.api_key)
    assert (ApiKey.objects.count(), JoinToken.objects.count()) == (1, 1)
    assert second.is_password_current


def test_a_lost_file_changes_no_password(var_dir: Path) -> None:
    first = first_bootstrap()
    (var_dir / "credentials.json").unlink()

    assert bootstrap.bootstrap(HERE) is None

    assert User.objects.get().check_password(first.password)
    assert not (var_dir / "credentials.json").exists()


def test_a_lost_join_token_file_is_written_again(var_dir: Path) -> None:
    first = first_bootstrap()
    (var_dir / "join_token").unlink()

    bootstrap.bootstrap(HERE)

    assert (var_dir / "join_token").read_text().strip() == first.join_token


def test_renewing_replaces_its_own_credentials_and_no_others() -> None:
    old = first_bootstrap()
    _key, others = ApiKey.issue(make_user(), "first key")

    new = bootstrap.renew(HERE)

    active = ApiKey.objects.active().values_list("digest", flat=True)
    assert set(active) == {secrets.digest(others), secrets.digest(new.api_key)}
    usable = JoinToken.objects.usable().get()
    assert usable.digest == secrets.digest(new.join_token)
    assert new.is_password_current
    assert not old.is_password_current


def test_a_folder_that_cannot_be_written_leaves_no_operator_behind(
    settings: Settings, var_dir: Path
) -> None:
    settings.VAR_DIR = var_dir / "missing"

    with pytest.raises(FileNotFoundError):
        bootstrap.bootstrap(HERE)

    assert not User.objects.exists()
