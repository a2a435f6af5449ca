"""One product and one engine for all tests of `/v1`: their requests share no state."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import Product, joined, quick_product

MAX_BODY_BYTES = 1_000_000


@pytest.fixture(scope="package")
def engine() -> Iterator[MockEngine]:
    with running_mock_engine(
        models=("mock-1", "org/mock-2"), headers=("Set-Cookie: engine=1",)
    ) as engine:
        yield engine


@pytest.fixture(scope="package")
def product(engine: MockEngine, new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with (
        quick_product(new_var_dir(), MAX_BODY_BYTES=str(MAX_BODY_BYTES)) as product,
        joined(product, engine),
    ):
        yield product


@pytest.fixture
def client(product: Product) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{product.url}/v1",
        api_key=product.credentials.api_key,
        max_retries=0,
    ) as client:
        yield client
