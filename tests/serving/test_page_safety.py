"""What stands between the pages of a running product and the network."""

import json
from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.product import Product, Response, quick_product

SIGN_IN = "/accounts/login/"
TRANSFER = "/library/transfer/"
AS_BROWSERS = {"Content-Type": "application/x-www-form-urlencoded"}
HTTPS = {"X-Forwarded-Proto": "https", "Host": "127.0.0.1"}


def cookies_of(answer: Response) -> SimpleCookie:
    return SimpleCookie(answer.headers.get("set-cookie", ""))


def session_of(product: Product) -> str:
    """The cookie of the first operator, signed in."""
    cookies = cookies_of(sign_in(product, product.credentials.password))
    return f"sessionid={cookies['sessionid'].value}"


def signed_in(product: Product, password: str) -> bool:
    """Whether the first operator gets in with this password."""
    return sign_in(product, password).status == 302


def sign_in(product: Product, password: str) -> Response:
    token = cookies_of(product.call("GET", SIGN_IN, headers=AS_BROWSERS))["csrftoken"]
    form = {
        "login": product.credentials.username,
        "password": password,
        "csrfmiddlewaretoken": token.value,
    }
    cookie = {"Cookie": f"csrftoken={token.value}"}
    return product.call(
        "POST",
        SIGN_IN,
        content=urlencode(form).encode(),
        headers=AS_BROWSERS | cookie,
    )


def test_behind_https_cookies_and_redirects_are_secure(
    new_var_dir: Callable[[], Path],
):
    with quick_product(
        new_var_dir(), PUBLIC_URL="https://127.0.0.1", TRUSTED_PROXIES="127.0.0.1"
    ) as product:
        plain = product.call("GET", SIGN_IN, headers=AS_BROWSERS)
        over_tls = product.call("GET", SIGN_IN, headers=AS_BROWSERS | HTTPS)

    assert plain.status == 301
    assert plain.headers["location"].startswith("https://")
    assert over_tls.status == 200
    assert "max-age=31536000" in over_tls.headers["strict-transport-security"]
    assert "includeSubDomains" in over_tls.headers["strict-transport-security"]
    cookie = cookies_of(over_tls)["csrftoken"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Lax"


def test_a_stranger_cannot_say_that_it_came_by_https(
    new_var_dir: Callable[[], Path],
):
    with quick_product(
        new_var_dir(), PUBLIC_URL="https://127.0.0.1", TRUSTED_PROXIES="192.0.2.1"
    ) as product:
        answer = product.call("GET", SIGN_IN, headers=AS_BROWSERS | HTTPS)

    assert answer.status == 301
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
def test_a_stranger_leaves_no_large_file(new_var_dir: Callable[[], Path], server: str):
    with quick_product(
        new_var_dir(),
        f"--server={server}",
        CHAT_MAX_ATTACHMENT_BYTES="100000",
        CHAT_IMPORT_MAX_BYTES=str(5 * 2**20),
    ) as product:

        def status(path: str, size: int) -> int:
            content = b"x" * size
            return product.call("POST", path, "", content, AS_BROWSERS).status

        assert status(SIGN_IN, 3 * 2**20) == 413
        assert status("/attachments/", 200_000) == 413
        assert status("/library/transfer/", 6 * 2**20) == 413
        # Within its bound, what is refused is the missing token.
        assert status(SIGN_IN, 2 * 2**20) == 403
        assert status("/attachments/", 99_000) == 403
        assert status("/library/transfer/", 4 * 2**20) == 403


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
def test_an_import_may_be_larger_than_a_request_to_v1(
    new_var_dir: Callable[[], Path], server: str
):
    message = {"id": "1", "parentId": None, "role": "user", "content": "x" * 200_000}
    history = {"currentId": "1", "messages": {"1": message}}
    chat = {"id": "long", "title": "long", "chat": {"history": history}}
    file = json.dumps([chat]).encode()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.json"'
    form = head + b"\r\n\r\n" + file + b"\r\n--b--\r\n"
    with quick_product(
        new_var_dir(), f"--server={server}", MAX_BODY_BYTES="100000"
    ) as product:
        session = session_of(product)
        page = product.call("GET", TRANSFER, headers={"Cookie": session})
        token = cookies_of(page)["csrftoken"].value
        as_form = {
            "Content-Type": "multipart/form-data; boundary=b",
            "X-CSRFToken": token,
            "Cookie": f"{session}; csrftoken={token}",
        }
        answer = product.call("POST", TRANSFER, content=form, headers=as_form)
        too_long = product.call(
            "POST", "/v1/completions", product.credentials.api_key, file
        )

    assert answer.status == 200
    assert b"1 conversation" in answer.body
    assert too_long.status == 413


@pytest.mark.redis
def test_processes_count_wrong_passwords_together(
    new_var_dir: Callable[[], Path], redis_server: str
):
    var_dir = new_var_dir()
    with (
        quick_product(var_dir, REDIS_URL=redis_server) as one,
        quick_product(var_dir, REDIS_URL=redis_server) as other,
    ):
        right = one.credentials.password
        assert signed_in(other, right)
        for number in range(5):
            assert not signed_in(one, f"guess {number}")

        assert not signed_in(other, right)
