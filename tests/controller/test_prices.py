from decimal import Decimal

import pytest

from controller.models import ServedModel
from controller.prices import NANOS, Prices, in_words


def prices_of(prompt: str, cached: str, completion: str) -> Prices:
    return Prices.per_million(
        prompt=Decimal(prompt), cached=Decimal(cached), completion=Decimal(completion)
    )


def test_a_million_tokens_cost_the_price():
    prices = prices_of("0.15", "0.075", "0.6")

    assert prices.cost_nanos(10**6, 0) == 0.15 * NANOS
    assert prices.cost_nanos(0, 10**6) == 0.6 * NANOS
    assert prices.cost_nanos(10**6, 0, cached=10**6) == 0.075 * NANOS


def test_the_smallest_price_is_not_rounded_away():
    prices = prices_of("0.000001", "0", "0")

    assert prices.cost_nanos(1, 0) == 1  # a billionth, for a thousandth of it
    assert prices.cost_nanos(10**6, 0) == NANOS // 10**6


def test_cached_tokens_cost_as_others_where_nobody_says_otherwise():
    model = ServedModel(price_prompt=Decimal(3))

    assert model.prices.cached == model.prices.prompt == 3_000_000


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "0.00"),
        ("0.5", "0.50"),
        ("0.000125", "0.000125"),
        ("0.0000001", "0.00"),
        ("2.5", "2.50"),
        ("1234567.891", "1,234,567.89"),
    ],
)
def test_money_has_its_cents_and_little_of_it_what_there_is(amount, shown):
    assert in_words(Decimal(amount)) == shown
