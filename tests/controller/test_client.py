"""The client for engines, against engines that keep to HTTP and engines that do not."""

import asyncio
import datetime
import ipaddress
import ssl
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller.errors import UpstreamFailed
from controller.relay import client as client_module
from controller.relay.client import (
    HIGH_WATER,
    Target,
    UpstreamBroken,
    UpstreamClient,
    UpstreamSilent,
    UpstreamUnreachable,
    request_head,
)
from tests.controller.raw_engine import (
    OK,
    STREAM,
    answering,
    answering_once,
    running_raw_engine,
)
from tests.servers import free_port


@pytest.fixture
async def client():
    client = UpstreamClient()
    yield client
    client.close()


async def begin(client, target):
    head = request_head(target, "POST", "/v1/completions", {}, 2)
    return await client.send(target, head, b"{}")


async def read_all(connection):
    parts = []
    while part := await connection.read(2):
        parts.append(part)
    return b"".join(parts)


async def ask(client, target):
    """The whole body of one answer; the connection is kept if it may be."""
    connection = await begin(client, target)
    try:
        return await read_all(connection)
    finally:
        client.give_back(target, connection)


@asynccontextmanager
async def asked(client, script):
    """An engine with this script, and the answer's headers from it."""
    async with running_raw_engine(script) as engine:
        connection = await begin(client, engine.target)
        yield connection
        connection.abort()


# -- Keeping connections ---------------------------------------------------------------


async def test_a_finished_connection_bears_the_next_request(client):
    async with running_raw_engine(answering(OK)) as engine:
        answers = [await ask(client, engine.target) for _ in range(3)]

    assert answers == [b"ok"] * 3
    assert engine.num_connections == 1


async def test_a_kept_connection_that_the_engine_closed_costs_no_request(client):
    async with running_raw_engine(answering_once(OK)) as engine:
        first = await begin(client, engine.target)
        await read_all(first)
        # It looks usable: the engine's end has not been seen to close yet.
        client.give_back(engine.target, first)
        second = await ask(client, engine.target)

    assert second == b"ok"
    assert engine.num_connections == 2


async def test_an_engine_that_dies_on_a_kept_connection_is_asked_once_more(client):
    async def script(connection):
        await connection.request()
        await connection.send(OK)
        await connection.request()  # read, and never answered

    async with running_raw_engine(script) as engine:
        await ask(client, engine.target)
        again = await ask(client, engine.target)

    assert again == b"ok"
    assert engine.num_connections == 2


async def test_a_connection_that_says_close_is_not_kept(client):
    closing = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    async with running_raw_engine(answering(closing)) as engine:
        await ask(client, engine.target)
        await ask(client, engine.target)

    assert engine.num_connections == 2


async def test_an_unfinished_answer_is_closed_when_given_back(client):
    left = asyncio.Event()

    async def script(connection):
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await connection.until_client_leaves()
        left.set()

    async with running_raw_engine(script) as engine:
        connection = await begin(client, engine.target)
        client.give_back(engine.target, connection)
        async with asyncio.timeout(2):
            await left.wait()


async def test_idle_connections_are_swept_before_the_engine_closes_them(
    client, monkeypatch
):
    async with running_raw_engine(answering(OK)) as engine:
        connection = await begin(client, engine.target)
        await read_all(connection)
        client.give_back(engine.target, connection)
        monkeypatch.setattr(client_module, "MAX_IDLE_SECONDS", 0)
        client.sweep()

    assert not connection.is_usable
    assert not client._idle


async def test_no_more_than_the_bound_of_idle_connections_is_kept(client, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_IDLE_CONNECTIONS", 2)
    async with running_raw_engine(answering(OK)) as engine:
        busy = [await begin(client, engine.target) for _ in range(5)]
        for connection in busy:
            await read_all(connection)
            client.give_back(engine.target, connection)

    assert [connection.is_usable for connection in busy].count(True) == 2


async def test_bytes_behind_an_answer_never_reach_the_next_request(client):
    poison = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
    async with running_raw_engine(answering(OK + poison)) as engine:
        answers = [await ask(client, engine.target) for _ in range(3)]

    assert answers == [b"ok"] * 3
    assert engine.num_connections == 3


async def test_an_answer_sent_before_any_question_is_not_taken(client):
    async def script(connection):
        await connection.send(OK)
        await connection.until_client_leaves()

    async with running_raw_engine(script) as engine:
        connection = await client._connect(engine.target)
        await asyncio.sleep(0.02)  # until the bytes are in

        assert not connection.is_usable


# -- Refusals and nonsense -------------------------------------------------------------


async def test_a_port_without_a_listener_is_unreachable(client):
    target = Target("127.0.0.1", free_port(), "engine")

    with pytest.raises(UpstreamUnreachable):
        await begin(client, target)


async def test_a_host_that_does_not_accept_is_given_up_in_time(client, settings):
    settings.UPSTREAM_CONNECT_TIMEOUT = timedelta(milliseconds=50)
    async with running_raw_engine(answering(OK)) as engine:
        # TLS towards a plain server that waits: the handshake never comes about.
        target = Target("127.0.0.1", engine.target.port, "engine", "engine")

        with pytest.raises(UpstreamUnreachable, match="no connection within"):
            await begin(client, target)


@pytest.mark.parametrize(
    "answer",
    [
        b"220 smtp.example.org ESMTP\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n"
        b"connection: upgrade\r\n\r\nPRI",
        b"",
    ],
)
async def test_an_answer_that_is_no_http_breaks_the_connection(client, answer):
    async with running_raw_engine(answering_once(answer)) as engine:
        with pytest.raises(UpstreamBroken):
            await ask(client, engine.target)


async def test_endless_headers_are_cut_off(client):
    async def script(connection):
        await connection.request()
        connection.writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            await connection.send(b"x-more: " + b"x" * 8192 + b"\r\n")

    async with running_raw_engine(script) as engine:
        with pytest.raises(UpstreamBroken, match="endless headers"):
            await ask(client, engine.target)


async def test_an_answer_shorter_than_announced_is_broken(client):
    short = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort"
    async with asked(client, answering_once(short)) as connection:
        assert await connection.read(2) == b"short"
        with pytest.raises(UpstreamBroken):
            await connection.read(2)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked"])
async def test_a_chunked_answer_without_its_end_is_broken(client, coding):
    cut = b"HTTP/1.1 200 OK\r\ntransfer-encoding: %b\r\n\r\n3\r\nabc\r\n" % coding
    async with asked(client, answering_once(cut)) as connection:
        assert await connection.read(2) == b"abc"
        with pytest.raises(UpstreamBroken):
            await connection.read(2)


async def test_an_answer_without_length_ends_with_its_connection(client):
    until_close = b"HTTP/1.1 200 OK\r\n\r\nwhole"
    async with running_raw_engine(answering_once(until_close)) as engine:
        assert await ask(client, engine.target) == b"whole"
        assert not client._idle


async def test_100_continue_is_not_taken_for_the_answer(client):
    answer = (b"HTTP/1.1 100 Continue\r\n\r\n", OK)
    async with running_raw_engine(answering(*answer)) as engine:
        connection = await begin(client, engine.target)

        assert connection.status == 200
        assert await read_all(connection) == b"ok"


async def test_an_answer_that_dribbles_in_is_put_together(client):
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = chunked + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    parts = [answer[i : i + 1] for i in range(len(answer))]
    async with running_raw_engine(answering(*parts)) as engine:
        assert await ask(client, engine.target) == b"abcdefg"


# -- Waiting ---------------------------------------------------------------------------


async def test_an_engine_silent_before_its_headers_is_given_up(client, settings):
    settings.UPSTREAM_FIRST_BYTE_TIMEOUT = timedelta(milliseconds=30)
    left = asyncio.Event()

    async def script(connection):
        await connection.request()
        await connection.until_client_leaves()
        left.set()

    async with running_raw_engine(script) as engine:
        with pytest.raises(UpstreamSilent, match=r"0\.03 s"):
            await begin(client, engine.target)
        async with asyncio.timeout(2):
            await left.wait()


async def test_an_engine_silent_in_mid_answer_is_given_up(client):
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"
    async with asked(client, answering(half)) as connection:
        assert await connection.read(2) == b"half"
        with pytest.raises(UpstreamSilent):
            await connection.read(0.03)


async def test_a_caller_who_leaves_while_waiting_closes_the_connection(client):
    started, left = asyncio.Event(), asyncio.Event()

    async def script(connection):
        await connection.request()
        started.set()
        await connection.until_client_leaves()
        left.set()

    async with running_raw_engine(script) as engine:
        waiting = asyncio.create_task(begin(client, engine.target))
        await started.wait()
        waiting.cancel()
        async with asyncio.timeout(2):
            await left.wait()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_slow_reader_holds_up_the_engine_and_not_our_memory(client):
    sent = 0

    async def script(connection):
        nonlocal sent
        await connection.request()
        connection.writer.write(STREAM + b"\r\n")
        for _ in range(1024):
            connection.writer.write(b"x" * 65536)
            await connection.writer.drain()
            sent += 65536

    async with asked(client, script) as connection:
        async with asyncio.timeout(5):
            while connection._buffered <= HIGH_WATER:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # time in which an unheld engine would send it all
        held, sent_by_then = connection._buffered, sent
        total = len(await read_all(connection))

    assert held < HIGH_WATER + 512 * 1024
    assert sent_by_then < 1024 * 65536
    assert total == 1024 * 65536


# -- TLS -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(PEM of a self-signed certificate for engine.test, PEM of its key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "engine.test")])
    today = datetime.datetime.now(datetime.UTC)
    names = [
        x509.DNSName("engine.test"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.2")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def server_tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.parametrize("name", ["engine.test", "127.0.0.2"])
async def test_a_worker_behind_tls_is_known_by_its_own_name(
    client, settings, certificate, server_tls, name
):
    settings.UPSTREAM_CA_FILE = str(certificate[0])
    async with running_raw_engine(answering(OK), server_tls, name) as engine:
        assert await ask(client, engine.target) == b"ok"


async def test_a_certificate_of_another_name_is_refused(
    client, settings, certificate, server_tls
):
    settings.UPSTREAM_CA_FILE = str(certificate[0])
    async with running_raw_engine(answering(OK), server_tls, "other.test") as engine:
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await ask(client, engine.target)


async def test_a_certificate_of_an_unknown_authority_is_refused(client, server_tls):
    async with running_raw_engine(answering(OK), server_tls, "engine.test") as engine:
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await ask(client, engine.target)


# -- The request's head ----------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"])
def test_a_header_value_that_breaks_the_line_is_refused(value):
    target = Target("127.0.0.1", 1, "engine")

    with pytest.raises(UpstreamFailed, match="impossible header"):
        request_head(target, "POST", "/", {"x-extra": value}, 0)


def test_the_head_names_the_workers_own_host_and_the_bodys_length():
    target = Target("127.0.0.1", 1, "engine.test:8000")

    head = request_head(target, "POST", "/v1/x", {"accept": "*/*"}, 12)

    assert head == (
        b"POST /v1/x HTTP/1.1\r\nhost: engine.test:8000\r\naccept: */*\r\n"
        b"content-length: 12\r\n\r\n"
    )
