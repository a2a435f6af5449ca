"""Who may call: keys in either header, and nothing else."""

import socket
import time
from contextlib import closing, suppress
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import msgspec
import pytest

from controller.identity import secrets
from controller.models import ApiKey
from openai_api import urls as openai_urls
from openai_api.usage import CompletionsUsage, Costs
from openai_api.views import Stream
from tests.product import CHAT_PATH, Product, chat_content, manage, wait_until


@pytest.fixture(scope="module")
def engine_key(product: Product) -> str:
    """A key whose holder may steer the engine."""
    command = "create_key --user admin --name engine --scopes inference,engine"
    completed = manage(product.var_dir, *command.split())
    return completed.stdout.split()[-1]


def test_a_request_without_a_key_is_refused(product: Product):
    refused = product.call("GET", "/v1/models")

    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "authorization", ["Basic YTpi", "sy-naked", "Bearer", "Bearer " + "k" * 5000]
)
def test_what_is_no_bearer_key_is_refused(product: Product, authorization: str):
    headers = {"Authorization": authorization}

    refused = product.call("GET", "/v1/models", headers=headers)

    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")


def test_a_key_may_come_as_x_api_key(product: Product):
    headers = {"x-api-key": product.credentials.api_key}

    assert product.call("GET", "/v1/models", headers=headers).status == 200


def test_the_same_key_in_both_headers_is_one_key(product: Product):
    key = product.credentials.api_key

    answer = product.call("GET", "/v1/models", key, headers={"x-api-key": key})

    assert answer.status == 200


def test_two_keys_that_disagree_are_a_bad_request(product: Product):
    key = product.credentials.api_key

    refused = product.call("GET", "/v1/models", key, headers={"x-api-key": "sy-other"})

    assert (refused.status, refused.error["code"]) == (400, "conflicting_credentials")


def test_a_revoked_key_is_refused_within_a_second(product: Product, engine_key: str):
    command = "create_key --user admin --name short-lived"
    key = manage(product.var_dir, *command.split()).stdout.split()[-1]
    before = product.call("GET", "/v1/models", key).status

    revoked = manage(product.var_dir, "revoke_key", key)

    assert revoked.returncode == 0, revoked.stdout
    after = product.call("GET", "/v1/models", key)
    assert (before, after.status) == (200, 401)


def test_a_key_for_one_model_sees_no_other(product: Product):
    command = "create_key --user admin --name narrow --models org/mock-2"
    key = manage(product.var_dir, *command.split()).stdout.split()[-1]

    listed = product.call("GET", "/v1/models", key).json["data"]
    refused = product.call("GET", "/v1/models/mock-1", key)

    assert [model["id"] for model in listed] == ["org/mock-2"]
    assert (refused.status, refused.error["code"]) == (404, "model_not_found")


def test_an_engine_control_needs_a_key_with_that_scope(
    product: Product, engine_key: str
):
    content = chat_content("Hi", priority=1)

    refused = product.chat("Hi", priority=1)
    granted = product.call("POST", CHAT_PATH, engine_key, content)

    assert (refused.status, refused.error["param"]) == (403, "priority")
    assert granted.status == 200


def test_who_may_steer_the_engine_may_not_respell_a_known_field(
    product: Product, engine_key: str
):
    content = chat_content("Hi", Stream=True)

    refused = product.call("POST", CHAT_PATH, engine_key, content)

    assert (refused.status, refused.error["param"]) == (400, "Stream")
    assert "write `stream`" in refused.error["message"]


def test_a_signed_in_session_is_no_key(product: Product):
    cookies = CookieJar()
    browser = build_opener(HTTPCookieProcessor(cookies))
    browser.open(f"{product.url}/accounts/login/").close()
    tokens = {cookie.name: cookie.value for cookie in cookies}
    form = {
        "login": product.credentials.username,
        "password": product.credentials.password,
        "csrfmiddlewaretoken": tokens["csrftoken"],
    }
    browser.open(f"{product.url}/accounts/login/", urlencode(form).encode()).close()

    with browser.open(f"{product.url}/admin/") as console:
        console_path = console.url.removeprefix(product.url)
    with pytest.raises(HTTPError) as refused:
        browser.open(f"{product.url}/v1/models")

    assert console_path == "/admin/"  # and not the page to sign in
    assert refused.value.code == 401
    refused.value.close()


# -- Keys that are bound ---------------------------------------------------------------


def new_key(product: Product, options: str) -> str:
    command = f"create_key --user admin --name bound {options}"
    return manage(product.var_dir, *command.split()).stdout.split()[-1]


def test_a_key_for_one_endpoint_opens_no_other(product: Product):
    key = new_key(product, "--endpoints /v1/chat/completions")

    granted = product.call("POST", CHAT_PATH, key, chat_content("Hi"))
    refused = product.call("GET", "/v1/models", key)
    one_of_them = product.call("GET", "/v1/models/mock-1", key)

    assert granted.status == 200
    for answer in (refused, one_of_them):
        assert (answer.status, answer.error["code"]) == (403, "endpoint_not_allowed")
    assert "/v1/models" in refused.error["message"]
    assert "/v1/chat/completions" in refused.error["message"]


def test_a_key_for_other_networks_opens_nothing_in_either_header(product: Product):
    elsewhere = new_key(product, "--networks 192.0.2.0/24 --scopes inference,fleet")
    here = new_key(product, "--networks 127.0.0.0/8,192.0.2.0/24")
    spoofed = {"X-Forwarded-For": "192.0.2.7"}  # nobody vouches for it

    refused = [
        product.call("GET", "/v1/models", elsewhere, headers=spoofed),
        product.call("GET", "/v1/models", headers={"x-api-key": elsewhere}),
        product.call("GET", "/controller/models/", elsewhere),
    ]

    assert {answer.status for answer in refused} == {403}
    assert refused[0].error["code"] == "address_not_allowed"
    assert "127.0.0.1" in refused[0].error["message"]
    assert product.call("GET", "/v1/models", here).status == 200


def test_every_endpoint_of_models_can_be_named_in_a_keys_bounds():
    views = {getattr(each.callback, "cls", None) for each in openai_urls.endpoints}

    # A stream is come back to by who may begin it; usage is its owner's to see.
    views -= {Stream, CompletionsUsage, Costs}
    assert {view.endpoint for view in views} == set(ApiKey.Endpoint.values)


# -- Strange credentials ---------------------------------------------------------------

STRANGE = {
    "SQL": b"' OR 1=1; DROP TABLE controller_apikey; --",
    "two words": b"sy-a sy-b",
    "not ASCII": "sy-ключ".encode(),
    "not even text": b"sy-\xff\xfe",
    "a percent": b"sy-%00%s%n",
}


@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_strange_keys_are_refused_as_wrong_ones(
    product: Product, header: str, strange: bytes
):
    scheme = b"Bearer " if header == "Authorization" else b""
    with closing(product.connect()) as connection:
        connection.putrequest("GET", "/v1/models")
        connection.putheader(header, scheme + strange)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()

    assert answer.status == 401
    assert b"invalid_api_key" in body
    assert strange not in body


@pytest.mark.parametrize("header", ["Authorization: Bearer ", "x-api-key: "])
@pytest.mark.parametrize(
    "key", [b"sy-\0" + b"a" * 48, b"sy-" + b"a" * 2**20], ids=["NUL", "megabyte"]
)
def test_what_no_header_may_hold_is_refused_and_serving_goes_on(
    product: Product, header: str, key: bytes
):
    request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n" + header.encode() + key
    raw = socket.create_connection(("127.0.0.1", product.port), timeout=10)
    with raw, suppress(OSError):  # the server may hang up in the middle of it
        raw.sendall(request + b"\r\n\r\n")
        status = raw.recv(1024).split(b" ")[1:2]
        assert status in ([], [b"400"], [b"401"], [b"431"])

    assert product.call("GET", "/v1/models", product.credentials.api_key).status == 200


def test_a_key_that_shares_its_first_forty_characters_with_another_is_another(
    product: Product,
):
    right = product.credentials.api_key
    twin = right[:40] + "0" * 6
    twin += secrets._checksum(twin)
    assert secrets.is_api_key(twin)
    assert product.call("GET", "/v1/models", right).status == 200  # is in memory

    refused = product.call("GET", "/v1/models", twin)

    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")


def test_a_header_sent_twice_with_two_keys_is_a_bad_request(product: Product):
    with closing(product.connect()) as connection:
        connection.putrequest("GET", "/v1/models")
        connection.putheader("x-api-key", product.credentials.api_key)
        connection.putheader("x-api-key", "sy-other")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()

    assert answer.status == 400
    assert b"conflicting_credentials" in body


# -- Revocation under way --------------------------------------------------------------


def test_a_stream_ends_by_the_next_event_once_its_key_is_revoked(product: Product):
    key = new_key(product, "")
    with product.chat_stream(
        "[[tokens=100000 interval_ms=20]]", "to be revoked", key=key
    ) as stream:
        stream.readline()
        revoked = manage(product.var_dir, "revoke_key", key)
        begun = time.monotonic()
        rest = stream.read()
        seconds = time.monotonic() - begun

    assert revoked.returncode == 0
    assert seconds < 1
    assert b"was revoked" in rest.split(b"\n\n")[-2]
    row = product.ledger_row(client_request_id="to be revoked")
    assert (row["status"], row["error_code"]) == (401, "invalid_api_key")


def test_a_body_that_trickles_in_does_not_outlive_its_key(product: Product):
    key = new_key(product, "")
    body = msgspec.json.encode(chat_content("Hi"))
    with closing(product.connect()) as connection:
        connection.putrequest("POST", CHAT_PATH)
        connection.putheader("Authorization", f"Bearer {key}")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10])
        assert product.call("GET", "/v1/models", key).status == 200
        manage(product.var_dir, "revoke_key", key)
        wait_until(
            lambda: product.call("GET", "/v1/models", key).status == 401, "revocation"
        )
        connection.send(body[10:])
        answer = connection.getresponse()
        answer.read()

    assert answer.status == 401
