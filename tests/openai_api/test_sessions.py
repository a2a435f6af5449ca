"""Requests of one session meet on one worker, however the client names it."""

import pytest

from tests.mock_engine import running_mock_engine
from tests.product import CHAT_PATH, chat_content, joined

MODEL = "twins"
NUM_REQUESTS = 12


@pytest.fixture(scope="module")
def twins(product):
    """Two engines of one model, of which each takes every second request by lot."""
    with (
        running_mock_engine(models=(MODEL,)) as one,
        running_mock_engine(models=(MODEL,)) as other,
        joined(product, one),
        joined(product, other),
    ):
        yield one, other


def counts(product, twins, header: str = "", **fields) -> list[int]:
    """How many of some requests each of the engines was asked."""
    for engine in twins:
        engine.reset()
    key = product.credentials.api_key
    headers = {"X-Session-Id": header} if header else {}
    for _ in range(NUM_REQUESTS):
        content = chat_content("Hi", model=MODEL, **fields)
        assert product.call("POST", CHAT_PATH, key, content, headers).status == 200
    return sorted(len(engine.requests(CHAT_PATH)) for engine in twins)


@pytest.mark.parametrize(
    "named",
    [{"header": "a"}, {"prompt_cache_key": "b"}, {"user": "c"}],
    ids=lambda named: next(iter(named)),
)
def test_a_session_meets_on_one_worker(product, twins, named):
    assert counts(product, twins, **named) == [0, NUM_REQUESTS]


def test_requests_without_a_session_are_spread(product, twins):
    assert 0 not in counts(product, twins)
