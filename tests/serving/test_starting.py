"""What `serve` refuses to begin with, and says in one sentence."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.mock_engine import running_mock_engine
from tests.product import (
    CHAT_PATH,
    Product,
    chat_content,
    joined,
    manage,
    quick_product,
)
from tests.servers import free_port


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
        (["--open", "--host=::"], "--open gives models to everybody"),
        (["--roles=api,magic"], "--roles: magic unknown"),
        (["--ssl-certfile=cert.pem"], "--ssl-certfile and --ssl-keyfile go together"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: list[str], sentence: str):
    with pytest.raises(CommandError, match=sentence):
        call_command("serve", *flags)


def test_a_refused_start_is_one_line_and_a_failure(var_dir: Path):
    refused = manage(var_dir, "serve", "--workers=2")

    assert refused.returncode == 1
    (line,) = refused.stdout.splitlines()
    assert line.startswith("CommandError: --workers above 1 needs REDIS_URL")


def last_line_of(var_dir: Path, *command: str) -> str:
    """Of a command that must fail, without a traceback."""
    refused = manage(var_dir, *command)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stdout
    return refused.stdout.splitlines()[-1]


def test_a_database_without_tables_is_said_with_what_makes_them(tmp_path: Path):
    serve = last_line_of(tmp_path, "serve", f"--port={free_port()}")
    join_token = last_line_of(tmp_path, "join_token")

    assert "The database has no tables yet. Run `python manage.py migrate`" in serve
    assert "The database lacks" in join_token
    assert "Run `python manage.py migrate`" in join_token


def test_an_address_of_another_machine_is_said_in_one_line(var_dir: Path):
    refused = manage(var_dir, "serve", "--host=203.0.113.1")

    assert refused.returncode == 1
    (line,) = refused.stdout.splitlines()
    assert "Cannot listen on 203.0.113.1:8000" in line


def test_a_port_in_use_is_said_in_one_line_that_names_it(var_dir: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = manage(var_dir, "serve", f"--port={port}")

    assert refused.returncode == 1
    (line,) = refused.stdout.splitlines()
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in line


def test_an_open_product_answers_without_a_key_and_with_any(open_product: Product):
    nobody = open_product.call("GET", "/v1/models")
    stranger = open_product.call("GET", "/v1/models", "sy-anything")

    assert (nobody.status, stranger.status) == (200, 200)
    assert [model["id"] for model in nobody.json["data"]] == ["mock-1"]


def test_guests_share_one_limit(open_product: Product):
    with open_product.chat_stream("[[tokens=500 interval_ms=20]]", key="") as response:
        response.readline()
        content = chat_content("Hi")
        refused = open_product.call("POST", CHAT_PATH, "sy-anything", content)
        key = open_product.credentials.api_key
        holder = open_product.call("POST", CHAT_PATH, key, content)

    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    assert holder.status == 200


@pytest.mark.parametrize(
    "path", ["/admin/", "/controller/models/", "/accounts/login/", "/"]
)
def test_a_process_that_serves_the_api_alone_has_no_other_pages(
    open_product: Product, path: str
):
    assert open_product.call("GET", path).status == 404
