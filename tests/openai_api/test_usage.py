"""Usage and costs by the API: whose, of when, and as many tokens as the engine made."""

import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from tests.mock_engine import running_mock_engine
from tests.product import Product, credentials_of, joined, manage, wait_until

USAGE = "/v1/organization/usage/completions"
COSTS = "/v1/organization/costs"


def new_key(product: Product, *flags: str) -> str:
    user = credentials_of(product.var_dir).username
    flags = ("--user", user, "--name", "usage", *flags)
    return manage(product.var_dir, "create_key", *flags).stdout.split()[-1]


def page(product: Product, path: str = USAGE, key: str = "", **query):
    query = {"start_time": int(time.time()) - 7_200} | query
    address = f"{path}?{urlencode(query, doseq=True)}"
    return product.call("GET", address, key or product.credentials.api_key)


def results(answer) -> list[dict]:
    assert answer.status == 200, answer.body
    return [each for bucket in answer.json["data"] for each in bucket["results"]]


@contextmanager
def engine_of(product: Product, model: str):
    with running_mock_engine(models=(model,)) as engine, joined(product, engine):
        yield engine


def written(product: Product, model: str, number: int) -> None:
    def all_there() -> bool:
        return sum(row["model"] == model for row in product.ledger()) == number

    wait_until(all_there, f"{number} rows of {model}")


@pytest.mark.parametrize("width", ["1m", "1h", "1d"])
def test_the_sums_are_the_engines_own_count_exactly(product: Product, width: str):
    model = f"counted-{width}"
    with engine_of(product, model) as engine:
        for number in range(1, 8):
            stream = number % 2 == 0
            product.chat(f"word [[tokens={number}]]", model=model, stream=stream)
        totals = engine.totals()
        written(product, model, 7)

        limit = 121 if width == "1m" else 3
        found = results(page(product, models=model, bucket_width=width, limit=limit))
        sums = Counter()
        for each in found:  # of two buckets, if a minute or an hour has just ended
            counts = {name: n for name, n in each.items() if isinstance(n, int)}
            sums.update(counts)

    assert sums["num_model_requests"] == totals.ended == 7
    assert sums["input_tokens"] == totals.prompt_tokens > 0
    assert sums["output_tokens"] == totals.generation_tokens == 28


def test_results_are_grouped_by_what_is_asked(product: Product):
    with engine_of(product, "grouped"):
        keys = [new_key(product), new_key(product)]
        for number, key in enumerate(keys, 1):
            for _ in range(number):
                content = {
                    "model": "grouped",
                    "messages": [{"role": "user", "content": "Hi"}],
                }
                product.call("POST", "/v1/chat/completions", key, content)
        written(product, "grouped", 3)

    groups = {"group_by": ["api_key_id", "model"], "models": "grouped"}
    found = results(page(product, **groups))

    assert sorted(each["num_model_requests"] for each in found) == [1, 2]
    assert {each["model"] for each in found} == {"grouped"}
    assert len({each["api_key_id"] for each in found}) == 2
    assert {each["user_id"] for each in found} == {None}


def test_minutes_are_those_in_which_the_requests_were_made(product: Product):
    with engine_of(product, "minutes"):
        product.chat(model="minutes")
        written(product, "minutes", 1)
    (row,) = [row for row in product.ledger() if row["model"] == "minutes"]
    at = datetime.fromisoformat(row["created_at"]).replace(tzinfo=UTC)

    answer = page(product, bucket_width="1m", models="minutes", limit=1440)

    minutes = [each["start_time"] for each in answer.json["data"] if each["results"]]
    assert minutes == [int(at.timestamp()) // 60 * 60]


def test_batches_are_told_apart_from_all_else(product: Product):
    with engine_of(product, "apart"):
        product.chat(model="apart")
        written(product, "apart", 1)

    (grouped,) = results(page(product, group_by="batch", models="apart"))
    assert (grouped["batch"], grouped["num_model_requests"]) == (False, 1)
    assert results(page(product, batch="true", models="apart")) == []
    assert results(page(product, batch="false", models="apart"))


def test_costs_are_by_the_prices_of_the_moment(product: Product):
    with engine_of(product, "priced"):
        set_price(product, 2_000_000)
        wait_until(lambda: cost_of_a_chat(product) == 6 * 10**9, "the price")
        before = priced(product)
        set_price(product, 0)
        wait_until(lambda: cost_of_a_chat(product) == 0, "the new price")

        after = priced(product)

    assert after >= before > 0  # one more may have been asked at the old price
    assert after == sum(row["cost_nanos"] for row in product.ledger()) / 10**9


def set_price(product: Product, price: int) -> None:
    code = (
        "from django.db import transaction\n"
        "from controller.models import Revision, ServedModel\n"
        "with transaction.atomic():\n"
        "    ServedModel.objects.filter(name='priced')"
        f".update(price_completion={price})\n"
        "    Revision.bump('fleet')\n"
    )
    completed = manage(product.var_dir, "shell", "--command", code)
    assert completed.returncode == 0, completed.stdout


def cost_of_a_chat(product: Product) -> int:
    """In billionths, of three tokens."""
    answer = product.chat("Hi [[tokens=3]]", model="priced")
    row = product.ledger_row(request_id=answer.headers["x-request-id"])
    return row["cost_nanos"]


def priced(product: Product) -> float:
    """What the API says that this model cost."""
    found = results(page(product, COSTS, group_by="line_item"))
    amounts = [each["amount"] for each in found if each["line_item"] == "priced"]
    assert {each["currency"] for each in amounts} == {"usd"}
    return sum(each["value"] for each in amounts)


def test_a_key_without_the_scope_fleet_sees_its_owner_only(product: Product):
    manage(product.var_dir, "shell", "--command", MAKE_STRANGER)
    flags = ("--user", "stranger", "--name", "own")
    created = manage(product.var_dir, "create_key", *flags)
    stranger = created.stdout.split()[-1]
    product.chat()

    assert results(page(product, key=stranger)) == []
    assert results(page(product, key=stranger, user_ids="1")) == []
    assert results(page(product))


MAKE_STRANGER = (
    "from controller.models import User;User.objects.get_or_create(username='stranger')"
)


def test_a_publishable_key_tells_nobody_its_owners_usage(product: Product):
    origin = "https://app.example.com"
    key = new_key(product, "--publishable", "--origins", origin)

    answer = product.call(
        "GET", f"{USAGE}?start_time=0", key, headers={"Origin": origin}
    )

    assert (answer.status, answer.error["code"]) == (403, "endpoint_not_allowed")


def test_a_key_that_may_not_call_models_may_read_usage(product: Product):
    key = new_key(product, "--scopes", "fleet")

    assert page(product, key=key).status == 200


def test_pages_follow_each_other_and_leave_nothing_out(product: Product):
    start = int(time.time()) // 86_400 * 86_400 - 9 * 86_400
    starts, query = [], {"start_time": start, "limit": 4}
    while True:
        answer = page(product, **query).json
        starts += [bucket["start_time"] for bucket in answer["data"]]
        if not answer["has_more"]:
            break
        query["page"] = answer["next_page"]

    assert starts == [start + number * 86_400 for number in range(10)]
    assert answer["next_page"] is None


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start_time": ""}, "start_time"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": 10**12}, "start_time"),
        ({"end_time": 1}, "end_time"),
        ({"bucket_width": "1w"}, "bucket_width"),
        ({"bucket_width": "1m", "limit": 1441}, "limit"),
        ({"bucket_width": "1m", "start_time": 1_000_000_000}, "start_time"),
        ({"bucket_width": "1h", "limit": 169}, "limit"),
        ({"bucket_width": "1h", "start_time": 1_000_000_000}, "start_time"),
        ({"group_by": "service_tier"}, "group_by"),
        ({"batch": "maybe"}, "batch"),
        ({"group_by": "colour"}, "group_by"),
        ({"limit": 32}, "limit"),
        ({"limit": 0}, "limit"),
        ({"user_ids": "1 OR 1=1"}, "user_ids"),
        ({"page": "page_x"}, "page"),
        ({"page": "page_" + "9" * 40}, "page"),
        ({"models": ["m"] * 101}, "models"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(product: Product, query, param):
    answer = page(product, **query)

    assert (answer.status, answer.error["param"]) == (400, param)


def test_without_a_key_there_is_no_usage(product: Product):
    assert product.call("GET", f"{USAGE}?start_time=0").status == 401
