"""The chat with a real gateway and a mock engine behind it."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from playwright.sync_api import Browser, Page

from chat.generations import generations, running_generations
from config import env
from controller.gateway import running_gateway
from controller.models import User
from tests.chromium import DESKTOP, note_complaints, sign_in
from tests.factories import make_user, make_worker
from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import Product
from tests.servers import PostgresServer

KEY = "engine-key"


@pytest.fixture(scope="session")
def session_engine() -> Iterator[MockEngine]:
    with running_mock_engine(key=KEY, models=("mock-1",), tokens=8) as engine:
        yield engine


@pytest.fixture
def engine(session_engine: MockEngine) -> MockEngine:
    session_engine.reset()
    return session_engine


@pytest.fixture
async def user(transactional_db: None) -> User:
    return await database_sync_to_async(make_user)()


@pytest.fixture
async def site(transactional_db: None, engine: MockEngine) -> AsyncIterator[None]:
    """A web process whose one worker is the mock engine."""
    make = database_sync_to_async(make_worker)
    like_vllm = {"engine": "vllm", "can_continue": True}
    await make("mock-1", address=engine.url, engine_key=KEY, **like_vllm)
    async with running_gateway(), running_generations():
        yield
    assert not generations._running


@pytest.fixture(scope="module")
def signed_in(browser: Browser, product: Product) -> dict:
    """The operator's cookies at the module's own `product`."""
    return sign_in(browser, product)


@pytest.fixture
def open_page(
    browser: Browser, product: Product, signed_in: dict
) -> Iterator[Callable[..., Page]]:
    """Open signed-in pages; nothing may go wrong in their consoles."""
    contexts, complaints = [], []

    def opened(path: str, permissions: Sequence[str] = (), **options: Any) -> Page:
        context = browser.new_context(
            storage_state=signed_in,
            base_url=product.url,
            permissions=permissions,
            **DESKTOP | options,
        )
        contexts.append(context)
        page = context.new_page()
        note_complaints(page, complaints)
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture(scope="session")
def postgres_tables(
    postgres_server: PostgresServer, django_db_setup: None, django_db_blocker: Any
) -> DatabaseWrapper:
    """A PostgreSQL database with the product's tables, not Django's default yet."""
    location = env.located(postgres_server.new_database())
    wrapper = DatabaseWrapper(connections["default"].settings_dict | location)
    with django_db_blocker.unblock(), as_default(wrapper):
        call_command("migrate", verbosity=0)
    return wrapper


@contextmanager
def as_default(wrapper: Any) -> Iterator[None]:
    """Django's default database, on this thread."""
    usual = connections["default"]
    connections["default"] = wrapper
    ContentType.objects.clear_cache()
    try:
        yield
    finally:
        wrapper.close()
        connections["default"] = usual
        ContentType.objects.clear_cache()


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.django_db),
        pytest.param("postgresql", marks=[pytest.mark.django_db, pytest.mark.postgres]),
    ]
)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs on SQLite and on PostgreSQL; what it writes is rolled back."""
    if request.param == "sqlite":
        yield request.param
        return
    wrapper = request.getfixturevalue("postgres_tables")
    with as_default(wrapper), rolled_back():
        yield request.param


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
