"""`python -m workers.check` as an operator runs it, against the real product."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.mock_engine import running_mock_engine
from tests.product import Product, manage, quick_product
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def product(new_var_dir: Callable[[], Path]) -> Iterator[Product]:
    with quick_product(new_var_dir()) as running:
        yield running


@pytest.fixture
def token_file(product: Product, tmp_path: Path) -> Path:
    file = tmp_path / "join_token"
    file.write_text(product.credentials.join_token + "\n")
    return file


def check(*flags: object) -> tuple[int, str]:
    """The exit status, and what was said."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("SWITCHYARD_JOIN_TOKEN", None)
    done = subprocess.run(
        [sys.executable, "-m", "workers.check", *map(str, flags)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def checked(product: Product, token_file: Path, *flags: object) -> tuple[int, str]:
    where = ("--controller-address", product.url, "--join-token-file", token_file)
    return check(*where, *flags)


def failed_step(words: str) -> str:
    lines = [line for line in words.splitlines() if line.startswith("FAIL")]
    assert len(lines) == 1, words
    return lines[0].split(maxsplit=1)[1]


def test_all_steps_are_well_before_there_is_an_engine(
    product: Product, token_file: Path
) -> None:
    status, words = checked(product, token_file, "--port", free_port())

    assert status == 0, words
    assert words.splitlines()[-1] == "A worker can join."
    for step in ("name", "route", "connection", "controller", "clock", "token file"):
        assert f"ok    {step} " in words
    assert "nothing listened at http://127.0.0.1:" in words
    assert "no inference path answers without the key" in words
    assert "\033" not in words  # no colours into a file
    assert product.query("SELECT * FROM controller_worker") == []


def test_a_one_time_token_is_looked_at_and_not_spent(
    product: Product, tmp_path: Path
) -> None:
    token_file = tmp_path / "once"
    made = manage(product.var_dir, "join_token")
    token_file.write_text(made.stdout.split()[-1])

    for _ in range(2):
        status, words = checked(product, token_file, "--port", free_port())
        assert status == 0, words
    assert "it was not spent" in words


def test_a_running_engine_is_challenged_with_its_key(
    product: Product, token_file: Path, tmp_path: Path
) -> None:
    with running_mock_engine() as engine:
        key_file = tmp_path / "key"
        key_file.write_text(engine.config.key)
        flags = ("--worker-address", engine.url, "--engine-key-file", key_file)

        assert "the key opens the list" in checked(product, token_file, *flags)[1]
        key_file.write_text("wrong")
        status, words = checked(product, token_file, *flags)

    assert status == 1
    assert "refuses the key" in failed_step(words)


def test_an_open_engine_is_found(product: Product, token_file: Path) -> None:
    with running_mock_engine(open_paths=("/invocations",)) as engine:
        status, words = checked(product, token_file, "--worker-address", engine.url)

    assert status == 1
    assert "/invocations" in failed_step(words)
    assert "use a token made with --keyless" in words


def test_an_upstream_is_looked_at_as_api_worker_registers_it(
    product: Product, token_file: Path, tmp_path: Path
) -> None:
    with running_mock_engine(open_paths=("/v1/models",)) as engine:
        key_file = tmp_path / "key"
        key_file.write_text("wrong")
        flags = ("--upstream", engine.url, "--engine-key-file", key_file)
        refused = checked(product, token_file, *flags)
        key_file.write_text(engine.config.key)
        status, words = checked(product, token_file, *flags)

    assert refused[0] == 1
    assert "refuses the key" in failed_step(refused[1])
    assert status == 0, words


def test_an_address_that_is_not_allowed_names_the_setting(
    product: Product, token_file: Path
) -> None:
    flags = ("--worker-address", "http://93.184.216.34:21002", "--port", free_port())
    status, words = checked(product, token_file, *flags)

    assert status == 1
    assert "ALLOWED_WORKER_NETWORKS" in words.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no join token in the file"),
        ("", "there is no join token in the file"),
        ("sy-wrong", "one begins with sy-join-"),
        ("sy-join-" + "x" * 49, "no valid join token"),
    ],
)
def test_a_token_that_is_none_is_said_with_how_to_make_one(
    product: Product, tmp_path: Path, content: str | None, complaint: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)

    status, words = checked(product, file, "--port", free_port())

    assert status == 1
    assert complaint in failed_step(words)
    assert "manage.py join_token" in words.splitlines()[-1]


@pytest.mark.parametrize(
    ("address", "step"),
    [
        ("http://no-such-host.invalid", "name"),
        ("http://127.0.0.1:{port}", "connection"),
    ],
)
def test_the_way_there_is_tried_step_by_step(address: str, step: str) -> None:
    port = free_port()

    status, words = check("--controller-address", address.format(port=port))

    assert status == 1
    assert failed_step(words).startswith(step)


def test_tls_where_there_is_none_is_said(product: Product) -> None:
    address = product.url.replace("http:", "https:")

    status, words = check("--controller-address", address)

    assert status == 1
    assert failed_step(words).startswith("TLS")
    assert "http://" in words.splitlines()[-1]


def test_a_certificate_is_trusted_by_its_authority(
    new_var_dir: Callable[[], Path], tmp_path: Path
) -> None:
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    openssl += ["-subj", "/CN=controller", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(tmp_path / "cert.pem"), "-keyout", str(tmp_path / "key.pem")]
    subprocess.run([*openssl, *files], check=True, capture_output=True)
    tls = [f"--ssl-certfile={tmp_path}/cert.pem", f"--ssl-keyfile={tmp_path}/key.pem"]
    with quick_product(new_var_dir(), *tls) as product:
        token_file = tmp_path / "token"
        token_file.write_text(product.credentials.join_token)
        flags = ("--port", free_port())
        refused = checked(product, token_file, *flags)
        authority = ("--controller-ca", tmp_path / "cert.pem")
        status, words = checked(product, token_file, *flags, *authority)

    assert refused[0] == 1
    assert failed_step(refused[1]).startswith("TLS")
    assert "--controller-ca" in refused[1].splitlines()[-1]
    assert status == 0, words
    assert "ok    TLS " in words


class OtherSite(BaseHTTPRequestHandler):
    """A web server that is no controller; or one whose clock is an hour off."""

    answer = b"<html>"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

    def log_message(self, *args: object) -> None:
        pass


class LateController(OtherSite):
    answer = b'{"error": {"message": "", "code": "join_token_missing"}}'


@pytest.fixture
def site() -> Iterator[Callable[[type[OtherSite]], str]]:
    servers = []

    def start(handler: type[OtherSite]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_site_that_is_no_controller_is_told_from_one(
    site: Callable[[type[OtherSite]], str],
) -> None:
    status, words = check("--controller-address", site(OtherSite))

    assert status == 1
    assert "not as a controller (status 200)" in failed_step(words)


def test_clocks_that_disagree_are_said_and_are_not_the_end(
    site: Callable[[type[OtherSite]], str], tmp_path: Path
) -> None:
    where = site(LateController)

    status, words = check(
        *("--controller-address", where, "--join-token-file", tmp_path / "none")
    )

    assert status == 1
    [odd] = [line for line in words.splitlines() if line.startswith("odd")]
    assert "s behind the controller's" in odd
    assert failed_step(words).startswith("token file")


def test_a_port_that_is_taken_by_something_else_is_said(
    product: Product, token_file: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silent.listen()
        threading.Thread(target=answer_nonsense, args=(silent,)).start()
        status, words = checked(product, token_file, "--port", port)

    assert status == 1
    assert "does not answer GET /v1/models in HTTP" in failed_step(words)


def answer_nonsense(server: socket.socket) -> None:
    try:
        connection, _ = server.accept()
    except OSError:
        return
    with connection:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_a_port_that_is_none_is_one_line() -> None:
    status, words = check("--port", "70000")

    assert (status, words) == (2, "--port 70000 is no port: they go from 1 to 65535.\n")
