"""Who may call: keys in either header, and nothing else."""

from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.product import CHAT_PATH, Product, chat_content, manage


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
