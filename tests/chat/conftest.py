"""The chat with a real gateway and a mock engine behind it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from channels.db import database_sync_to_async

from chat.generations import generations, running_generations
from controller.gateway import running_gateway
from controller.models import User
from tests.factories import make_user, make_worker
from tests.mock_engine import MockEngine, running_mock_engine

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
