"""Where the product is found: by TLS, below a prefix, by Django's own server."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mock_engine import running_mock_engine
from tests.product import Product, joined, listed_models, quick_product, running_product


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags of a certificate that this machine signed for itself."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
        f" -keyout {folder}/key.pem -out {folder}/cert.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return [f"--ssl-certfile={folder}/cert.pem", f"--ssl-keyfile={folder}/key.pem"]


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def product(
    request: pytest.FixtureRequest,
    certificate: list[str],
    new_var_dir: Callable[[], Path],
) -> Iterator[Product]:
    """Behind TLS and below a prefix."""
    flags = [f"--server={request.param}", "--root-path=/prefix", *certificate]
    with (
        running_mock_engine() as engine,
        quick_product(new_var_dir(), *flags) as product,
        joined(product, engine),
    ):
        yield product


@pytest.mark.parametrize("path", ["/prefix/v1/models", "/v1/models"])
def test_a_proxy_may_strip_the_prefix_or_leave_it(product: Product, path: str):
    answer = product.call("GET", path, product.credentials.api_key)

    assert [model["id"] for model in answer.json["data"]] == ["mock-1"]


@pytest.mark.parametrize("path", ["/prefix/admin/", "/admin/"])
def test_links_of_pages_bear_the_prefix(product: Product, path: str):
    answer = product.call("GET", path)

    assert answer.status == 302
    assert answer.headers["location"].startswith("/prefix/")


def test_static_files_are_found_below_the_prefix(product: Product):
    as_browsers = {"Content-Type": "text/plain"}  # allauth answers JSON with JSON
    page = product.call("GET", "/prefix/accounts/login/", headers=as_browsers)
    stylesheets = re.findall(r'href="([^"]+\.css)"', page.body.decode())

    assert stylesheets
    assert all(path.startswith("/prefix/static/") for path in stylesheets)
    assert product.call("GET", stylesheets[0]).status == 200


def test_a_path_that_only_begins_like_the_prefix_is_another(product: Product):
    assert product.call("GET", "/prefixed/v1/models").status == 404


def test_a_stream_goes_through_tls(product: Product):
    answer = product.chat("[[tokens=5 interval_ms=5]]", stream=True)

    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_runserver_serves_v1_too(new_var_dir: Callable[[], Path]):
    with (
        running_mock_engine() as engine,
        running_product(new_var_dir(), "--noreload", command="runserver") as product,
        joined(product, engine),
    ):
        assert listed_models(product) == ["mock-1"]
        assert product.chat(stream=True).body.endswith(b"data: [DONE]\n\n")
