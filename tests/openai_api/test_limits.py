"""What clients of `/v1` see of limits."""

import pytest
from openai import OpenAI, RateLimitError

from tests.product import (
    CHAT_PATH,
    Product,
    Response,
    chat_content,
    manage,
    wait_until,
)


def new_key(product: Product, *flags: str) -> str:
    """A key with these limits."""
    command = ("create_key", "--user", "admin", "--name", "ci", *flags)
    return manage(product.var_dir, *command).stdout.split()[-1]


def chat(product: Product, key: str, text: str = "Hi", **fields) -> Response:
    return product.call("POST", CHAT_PATH, key, chat_content(text, **fields))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/mock-1"])
def test_every_answer_tells_where_the_key_stands(product: Product, path: str):
    headers = product.call("GET", path, product.credentials.api_key).headers

    for name in ("requests", "tokens"):
        assert int(headers[f"x-ratelimit-limit-{name}"]) > 100_000
        assert int(headers[f"x-ratelimit-remaining-{name}"]) > 100_000
        assert headers[f"x-ratelimit-reset-{name}"].endswith("s")


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_tells_what_is_left_after_it(product: Product, stream: bool):
    key = new_key(product, "--rpm", "10", "--tpm", "9000")

    first = chat(product, key, stream=stream)
    refused = chat(product, key, stream=stream, max_tokens=-1)

    assert first.headers["x-ratelimit-remaining-requests"] == "9"
    assert 0 < int(first.headers["x-ratelimit-remaining-tokens"]) < 9000
    assert refused.status == 400
    assert refused.headers["x-ratelimit-remaining-requests"] == "9"


def test_the_official_client_knows_the_refusal(product: Product):
    key = new_key(product, "--rpm", "1")
    with OpenAI(base_url=f"{product.url}/v1", api_key=key, max_retries=0) as client:
        messages = [{"role": "user", "content": "Hi"}]
        client.chat.completions.create(model="mock-1", messages=messages)

        with pytest.raises(RateLimitError) as caught:
            client.chat.completions.create(model="mock-1", messages=messages)

    assert caught.value.code == "rate_limit_exceeded"
    assert "key 'ci' has 1 requests per minute" in caught.value.message
    assert 50 < int(caught.value.response.headers["retry-after"]) <= 60


def test_a_spent_budget_refuses_by_its_own_code(product: Product):
    key = new_key(product, "--tokens-per-day", "1")

    answer = chat(product, key)

    assert answer.status == 429
    assert answer.error["code"] == answer.error["type"] == "insufficient_quota"
    assert (
        "tokens per day of key 'ci' is used up. It resets at"
        in (answer.error["message"])
    )


def test_a_revised_limit_acts_within_a_second(product: Product):
    key = new_key(product, "--rpm", "1")
    chat(product, key)
    assert chat(product, key).status == 429

    manage(
        product.var_dir,
        "shell",
        "-c",
        "from controller.models import *;"
        "Limit.put('requests_per_minute', 50, key_id=ApiKey.objects.first().pk)",
    )

    wait_until(lambda: chat(product, key).status == 200, "the new limit")
