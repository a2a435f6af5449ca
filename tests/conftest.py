"""What every test shares: data of its own, real servers, and the order of the run."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import django
import hypothesis
import pytest
from django.conf import settings
from django.utils import translation

from tests import product, servers

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Set here and not in pyproject.toml: with the settings named there, pytest-django would
# read them before this file runs, and the tests would work on the developer's data.
if settings.configured:
    raise pytest.UsageError("Unset DJANGO_SETTINGS_MODULE: the tests set it.")
VAR_DIR = Path(tempfile.mkdtemp(prefix="switchyard-tests-"))
for name in ("DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "SERVE_ROLES", "HOST", "PORT"):
    os.environ.pop(name, None)
os.environ["VAR_DIR"] = str(VAR_DIR)
# A title is one more request to an engine; tests of titles ask for them.
os.environ["CHAT_TITLES"] = "0"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
# What costs most where each test has a client and a password of its own. The product's
# own processes do both as everywhere.
settings.SERVESTATIC_USE_FINDERS = False
settings.SERVESTATIC_USE_STATIC_ROOT = False
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
django.setup()
# No clock decides over a test, and no file remembers its examples.
hypothesis.settings.register_profile(
    "switchyard",
    deadline=None,
    database=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.load_profile("switchyard")


def pytest_unconfigure() -> None:
    shutil.rmtree(VAR_DIR, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Engine tests last, in one group: what is quick to fail fails first."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is not None)
    if shutil.which("nvidia-smi") is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show why a test ran a second time, which pytest-rerunfailures only counts."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_sep("_", f"{report.nodeid} failed at first", bold=True)
        report.toterminal(terminalreporter._tw)


@pytest.fixture(autouse=True)
def _no_language_left() -> Iterator[None]:
    """Django's test client leaves its last page's language active in the thread."""
    yield
    translation.deactivate()


@pytest.fixture(scope="session")
def new_var_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes folders of a product that was just set up; doing that once is enough."""
    template = tmp_path_factory.mktemp("product") / "template"
    product.set_up(template)

    def copy() -> Path:
        return shutil.copytree(template, tmp_path_factory.mktemp("var") / "var")

    return copy


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless Chromium; mark the test `browser`."""
    # Late: most tests need no Playwright.
    from tests.chromium import running_chromium

    with running_chromium() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis; mark the test `redis`."""
    try:
        with servers.running_redis(tmp_path_factory.mktemp("redis")) as url:
            yield url
    except servers.ServerMissing as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresServer]:
    """A real PostgreSQL; mark the test `postgres`, take a `new_database()` of it."""
    # Not below pytest's own folder, which other users, such as PostgreSQL's, cannot
    # enter.
    with tempfile.TemporaryDirectory(prefix="switchyard-postgres-") as folder:
        try:
            with servers.running_postgres(Path(folder)) as server:
                yield server
        except servers.ServerMissing as exc:
            pytest.skip(str(exc))
