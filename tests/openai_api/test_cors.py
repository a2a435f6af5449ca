"""What browsers are told of other sites' pages, with a row of every kind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mock_engine import MockEngine
from tests.product import (
    CHAT_PATH,
    Product,
    Response,
    chat_content,
    joined,
    manage,
    quick_product,
    wait_until,
)

NAMED = "https://app.example.com"
BELOW = "https://team.example.org"  # by a star
NARROW = "http://localhost:5173"
STRANGER = "https://elsewhere.example.net"
# (pattern, its fields)
ROWS = [
    (NAMED, {"allows_credentials": True}),
    ("https://*.example.org", {}),
    (NARROW, {"methods": ["GET"], "headers": ["Authorization", "X-Mine"]}),
]
FROM_CLIENT = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"
ALLOW = "access-control-allow-"


def write_rows(var_dir: Path, statements: str) -> None:
    written = manage(
        var_dir,
        *("shell", "--verbosity=0", "-c"),
        f"from controller.models import AllowedOrigin, Revision\n{statements}",
    )
    assert written.returncode == 0, written.stdout


@pytest.fixture(scope="module")
def product(engine: MockEngine, new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    var_dir = new_var_dir()
    rows = [f"AllowedOrigin.write_missing([{p!r}], **{fields})" for p, fields in ROWS]
    write_rows(var_dir, "\n".join(rows))
    with quick_product(var_dir) as product, joined(product, engine):
        yield product


@pytest.fixture(scope="module")
def open_product(
    engine: MockEngine, new_var_dir: Callable[[], Path]
) -> Iterator[Product]:
    """One that lets every site call, as FastChat did."""
    flags = ('--allowed-origins=["*"]', '--allowed-methods=["*"]')
    with quick_product(new_var_dir(), *flags) as product, joined(product, engine):
        yield product


def preflight(
    product: Product, origin: str, method: str = "POST", headers: str = FROM_CLIENT
) -> Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return product.call("OPTIONS", CHAT_PATH, headers=asked)


def actual(product: Product, origin: str, **fields: object) -> Response:
    key = product.credentials.api_key
    content = chat_content("Hi", **fields)
    return product.call("POST", CHAT_PATH, key, content, {"Origin": origin})


def told(response: Response) -> dict[str, str]:
    """The CORS headers of an answer, by what they are about."""
    return {
        name.removeprefix(ALLOW): value
        for name, value in response.headers.items()
        if name.startswith(ALLOW)
    }


# -- Each kind of row ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "credentials"), [(NAMED, {"credentials": "true"}), (BELOW, {})]
)
def test_a_site_is_told_what_its_row_allows(
    product: Product, origin: str, credentials: dict
):
    before, answer = preflight(product, origin), actual(product, origin)

    assert before.status == 200
    assert not before.body
    assert told(before) == credentials | {
        "origin": origin,
        "methods": "GET, POST, PUT, PATCH, DELETE, HEAD",
        "headers": FROM_CLIENT,
    }
    assert before.headers["access-control-max-age"] == "600"
    assert answer.status == 200
    assert told(answer) == credentials | {"origin": origin}
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert answer.headers["vary"] == before.headers["vary"] == "origin"


def test_a_row_with_methods_and_headers_names_them(product: Product):
    before = preflight(product, NARROW)

    assert told(before) == {
        "origin": NARROW,
        "methods": "GET",
        "headers": "Authorization, X-Mine",
    }


@pytest.mark.parametrize("origin", [NAMED, STRANGER, "null"])
def test_a_star_is_for_every_site_and_never_with_credentials(
    open_product: Product, origin: str
):
    before, answer = preflight(open_product, origin), actual(open_product, origin)

    assert told(before) == {
        "origin": "*",
        "methods": "GET, POST, PUT, PATCH, DELETE, HEAD",
        "headers": FROM_CLIENT,
    }
    assert told(answer) == {"origin": "*"}
    assert answer.status == 200


@pytest.mark.parametrize(
    "origin",
    [
        STRANGER,
        "null",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://evil-app.example.com",
        "https://app.example.com.evil.com",
        "https://evil-example.org",
        "https://example.org.evil.com",
        "https://example.org",
        "https://a.b.example.org",
        "https://*.example.org",
        "https://evil.com/.example.org",
        "*",
    ],
)
def test_other_sites_are_told_nothing(product: Product, origin: str):
    before, answer = preflight(product, origin), actual(product, origin)

    assert told(before) == told(answer) == {}
    assert not before.body
    # CORS is for browsers, which now keep the answer from the page.
    assert answer.status == 200
    assert answer.headers["vary"] == "origin"


# -- Each kind of answer ---------------------------------------------------------------


def test_a_stream_and_a_refusal_can_be_read_by_the_page_too(product: Product):
    stream = actual(product, NAMED, stream=True)
    refused = product.call("POST", CHAT_PATH, "sy-wrong", {}, {"Origin": NAMED})
    unknown = product.call("GET", "/v1/nothing", headers={"Origin": NAMED})

    assert (stream.status, refused.status, unknown.status) == (200, 401, 404)
    for answer in (stream, refused, unknown):
        assert told(answer)["origin"] == NAMED


def test_without_an_origin_nothing_is_told_but_caches_are_warned(product: Product):
    answer = product.chat()

    assert told(answer) == {}
    assert answer.headers["vary"] == "origin"


def test_other_machine_paths_know_no_other_site(product: Product):
    for path in ("/controller/workers/", "/healthz", "/metrics"):
        answer = product.call("GET", path, headers={"Origin": NAMED})
        assert told(answer) == {}
        assert "vary" not in answer.headers


@pytest.mark.parametrize("wrong", ["a\tb: c", "x" * 3000, "a,,b", "a, b;c", "*, é"])
def test_what_is_no_list_of_headers_is_not_given_back(product: Product, wrong: str):
    before = preflight(product, NAMED, headers=wrong)

    assert told(before)["headers"] == ""


# -- Changes ---------------------------------------------------------------------------


def test_changes_act_within_a_second(product: Product):
    def is_allowed() -> bool:
        return told(preflight(product, STRANGER)) != {}

    write_rows(product.var_dir, f"AllowedOrigin.write_missing([{STRANGER!r}])")
    wait_until(is_allowed, "the new row", seconds=1)

    write_rows(
        product.var_dir,
        f"AllowedOrigin.objects.filter(pattern={STRANGER!r}).delete()\n"
        "Revision.bump('origins')",
    )
    wait_until(lambda: not is_allowed(), "the end of the row", seconds=1)


def test_the_flags_of_serve_say_what_they_wrote(open_product: Product):
    said = open_product.log.read_text()

    assert "Allowed origins written: *." in said


# -- Keys that are for sites -----------------------------------------------------------


def test_a_publishable_key_is_for_pages_of_its_site_alone(product: Product):
    command = f"create_key --user admin --name page --publishable --origins {NAMED}"
    key = manage(product.var_dir, *command.split()).stdout.split()[-1]

    def status(**headers: str) -> int:
        return product.call("POST", CHAT_PATH, key, chat_content("Hi"), headers).status

    assert key.startswith("sy-pub-")
    assert status(Origin=NAMED) == 200
    for origin in (BELOW, "null", "https://app.example.com.evil.com"):
        assert status(Origin=origin) == 403
    assert status() == 403
    fleet = product.call("GET", "/controller/workers/", key, headers={"Origin": NAMED})
    assert fleet.status == 403
