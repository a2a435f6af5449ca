"""A body that is not what it should be is refused with the name of its field."""

import msgspec
import openai
import pytest
from openai import OpenAI

from tests.openai_api.conftest import MAX_BODY_BYTES
from tests.product import Product, Response

CHAT = b'{"model": "mock-1", "messages": [{"role": "user", "content": "Hi"}]'


def post(product: Product, body: bytes, path: str = "chat/completions") -> Response:
    return product.call("POST", f"/v1/{path}", product.credentials.api_key, body)


@pytest.mark.parametrize(
    ("rest", "param"),
    [
        (b', "model": "other"}', "model"),
        (b', "temperature": 1, "temperature": 2}', "temperature"),
        (b', "response_format": {"type": "text", "type": "json_object"}}', "type"),
        (b', "stream_options": null, "stream_options": {}}', "stream_options"),
        (b', "Temperature": 1}', "Temperature"),
        (b', "STREAM": true}', "STREAM"),
        (b', "temperature": "warm"}', "temperature"),
        (b', "temperature": 3}', "temperature"),
        (b', "top_p": 0}', "top_p"),
        (b', "stream": "yes"}', "stream"),
        (b', "max_tokens": 0}', "max_tokens"),
        (b', "max_tokens": 1.5}', "max_tokens"),
        (b', "stop": [1]}', "stop[0]"),
        (b', "logit_bias": {"5": 101}}', "logit_bias[...]"),
        (b', "stream_options": {"include_usage": 3}}', "stream_options.include_usage"),
        (b', "best_answer": true}', "best_answer"),
        (b', "n": 17}', "n"),
        (b', "top_logprobs": 21}', "top_logprobs"),
        (b', "stop": [' + b",".join([b'"x"'] * 17) + b"]}", "stop"),
    ],
)
def test_a_wrong_field_is_named(product: Product, rest: bytes, param: str):
    refused = post(product, CHAT + rest)

    assert (refused.status, refused.error["param"]) == (400, param), refused
    assert refused.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "model"),
        (b'{"model": "mock-1"}', "messages"),
        (b'{"model": "mock-1", "messages": []}', "messages"),
        (b'{"model": "mock-1", "messages": [{"content": "Hi"}]}', "messages[0].role"),
        (b'{"model": "mock-1", "messages": ["Hi"]}', "messages[0]"),
        (b'{"model": 3, "messages": [{"role": "user"}]}', "model"),
    ],
)
def test_a_missing_or_shapeless_field_is_named(
    product: Product, body: bytes, param: str
):
    refused = post(product, body)

    assert (refused.status, refused.error["param"]) == (400, param), refused


def test_a_completion_without_its_prompt_names_it(product: Product):
    refused = post(product, b'{"model": "mock-1"}', "completions")

    assert (refused.status, refused.error["param"]) == (400, "prompt")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        CHAT,
        CHAT + b"} {}",
        b'{"model": "\xff"}',
        b'{"model": "mock-1", "messages": ' + b"[" * 50_000,
        CHAT + b', "seed": NaN}',
    ],
)
def test_what_is_no_json_object_is_refused(product: Product, body: bytes):
    refused = post(product, body)

    assert (refused.status, refused.error["code"]) == (400, "invalid_json"), refused


def test_a_field_that_only_openai_uses_is_left_out(product: Product):
    assert post(product, CHAT + b', "store": true, "user": "me"}').status == 200


def test_null_means_the_default(product: Product):
    assert post(product, CHAT + b', "stop": null, "max_tokens": null}').status == 200


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 20 * MAX_BODY_BYTES])
def test_too_large_a_body_is_refused_by_its_length(client: OpenAI, size: int):
    long = [{"role": "user", "content": "x" * size}]

    # The official client, since it goes on to read when it can write no more.
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="mock-1", messages=long)

    assert (refused.value.status_code, refused.value.code) == (413, "request_too_large")


def test_too_large_a_body_of_no_known_length_is_refused(product: Product):
    connection = product.connect()
    key = product.credentials.api_key
    blocks = (b" " * 10_000 for _ in range(MAX_BODY_BYTES // 10_000 + 1))

    connection.request(
        "POST",
        "/v1/chat/completions",
        blocks,
        {"Authorization": f"Bearer {key}"},
        encode_chunked=True,
    )
    response = connection.getresponse()
    error = msgspec.json.decode(response.read())["error"]
    connection.close()

    assert (response.status, error["code"]) == (413, "request_too_large")


def test_a_body_just_within_the_limit_is_taken(product: Product):
    body = CHAT + b"}"

    assert post(product, body + b" " * (MAX_BODY_BYTES - len(body))).status == 200


@pytest.mark.parametrize("path", ["/v1/", "/v1/responses", "/v1/chat", "/v1/modelsx"])
def test_an_unknown_path_is_not_found_as_json(product: Product, path: str):
    refused = product.call("GET", path, product.credentials.api_key)

    assert (refused.status, refused.error["code"]) == (404, "not_found")
    assert f"GET {path}. Under /v1 there are chat/" in refused.error["message"]
    assert refused.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/chat/completions"), ("DELETE", "/v1/models")]
)
def test_a_wrong_method_is_refused_as_json(product: Product, method: str, path: str):
    refused = product.call(method, path, product.credentials.api_key)

    assert (refused.status, refused.error["code"]) == (405, "method_not_allowed")
