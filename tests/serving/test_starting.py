"""What `serve` refuses to begin with, and says in one sentence."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, manage, quick_product


@pytest.fixture(scope="module")
def var_dir(new_var_dir: Callable[[], Path]) -> Path:
    return new_var_dir()


@pytest.fixture(scope="module")
def open_product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    """One that only answers `/v1`, to everybody on this machine."""
    with (
        running_mock_engine() as engine,
        quick_product(new_var_dir(), GUEST_MAX_CONCURRENT="2") as product,
        joined(product, engine),
    ):
        product.stop()
        flags = ("--open", "--roles=api")
        with quick_product(product.var_dir, *flags, GUEST_MAX_CONCURRENT="1") as opened:
            yield opened


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--workers=2"], "--workers above 1 needs REDIS_URL"),
        (["--open", "--host=0.0.0.0"], "--open gives models to everybody"),
        (["--roles=api,magic"], "--roles: magic unknown"),
        (["--ssl-certfile=cert.pem"], "--ssl-certfile and --ssl-keyfile go together"),
        (["--host=203.0.113.1"], "Cannot listen on 203.0.113.1:8000"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    var_dir: Path, flags: list[str], sentence: str
):
    refused = manage(var_dir, "serve", *flags)

    assert refused.returncode != 0
    (line,) = refused.stdout.splitlines()
    assert sentence in line


def test_a_port_in_use_is_said_in_one_line_that_names_it(var_dir: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = manage(var_dir, "serve", f"--port={port}")

    assert refused.returncode != 0
    (line,) = refused.stdout.splitlines()
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in line


def test_an_open_product_answers_without_a_key_and_with_any(open_product: Product):
    nobody = open_product.call("GET", "/v1/models")
    stranger = open_product.call("GET", "/v1/models", "sy-anything")

    assert (nobody.status, stranger.status) == (200, 200)
    assert [model["id"] for model in nobody.json["data"]] == ["mock-1"]


@pytest.mark.parametrize(
    "path", ["/admin/", "/controller/models/", "/accounts/login/", "/"]
)
def test_a_process_that_serves_the_api_alone_has_no_other_pages(
    open_product: Product, path: str
):
    assert open_product.call("GET", path).status == 404
