"""The challenge against real HTTP servers on loopback, good ones and bad ones."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller.fleet.addresses import ResolvedAddress
from controller.fleet.challenge import MAX_LISTING_BYTES, challenge
from controller.fleet.errors import WorkerRefused
from tests.controller.fake_engine import FakeEngine, answering, running_engine
from tests.mock_engine import running_mock_engine
from workers.protocol import INFERENCE_PATHS, RefusalCode

CALLS = [*INFERENCE_PATHS, "/v1/models"]


def at(engine, scheme="http", host="127.0.0.1") -> ResolvedAddress:
    return ResolvedAddress(scheme, host, engine.port, "127.0.0.1")


async def challenged(engine, resolved=None, **fields):
    values = {"engine_key": engine.key, "names": ["llama"], "extra_headers": {}}
    values |= {"base_path": "/v1", "keyless": False, "lists_openly": False}
    values |= {"timeout": 5.0}
    await challenge(resolved or at(engine), **values | fields)


async def refusal(engine, **fields) -> WorkerRefused:
    with pytest.raises(WorkerRefused) as refused:
        await challenged(engine, **fields)
    return refused.value


async def test_a_guarded_engine_that_lists_its_models_passes():
    async with running_engine(models=("llama", "adapter")) as engine:
        await challenged(engine, names=["llama", "adapter"])

    unasked = [each for each in engine.asked if "Authorization" not in each.headers]
    assert {each.path for each in unasked} == set(CALLS)


def test_a_mock_engine_passes_and_an_open_one_does_not():
    with running_mock_engine(models=("llama",)) as engine:
        engine.key = engine.config.key
        asyncio.run(challenged(engine))
    with running_mock_engine(models=("llama",), open_paths=("/tokenize",)) as engine:
        engine.key = engine.config.key
        refused = asyncio.run(refusal(engine))

    assert refused.code == RefusalCode.ENGINE_OPEN


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("status", [200, 400, 422, 500])
async def test_an_engine_open_on_any_one_path_is_refused(path, status):
    async with running_engine(answers={path: answering(status)}) as engine:
        refused = await refusal(engine)

    assert refused.code == RefusalCode.ENGINE_OPEN
    assert path in refused.message
    assert str(status) in refused.message


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_a_path_that_refuses_or_is_missing_is_shut(status):
    async with running_engine(answers={"/invocations": answering(status)}) as engine:
        await challenged(engine)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/models"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_refused_and_not_followed(path, status):
    async with running_engine() as elsewhere, running_engine() as engine:
        target = {"Location": f"{elsewhere.url}{path}"}
        engine.answers[path] = answering(status, headers=target)

        refused = await refusal(engine)

    assert refused.code == RefusalCode.ENGINE_REDIRECTS
    assert elsewhere.asked == []


async def test_a_redirect_of_the_key_is_refused_and_not_followed():
    async with running_engine() as elsewhere, running_engine() as engine:
        target = {"Location": f"{elsewhere.url}/v1/models"}
        engine.with_key["/v1/models"] = answering(307, headers=target)

        refused = await refusal(engine)

    assert refused.code == RefusalCode.ENGINE_REDIRECTS
    assert elsewhere.asked == []


async def test_a_keyless_engine_is_asked_for_its_models_alone():
    listing = b'{"data": [{"id": "llama"}]}'
    async with running_engine(answers={"/v1/models": answering(200, listing)}) as open_:
        await challenged(open_, engine_key="", keyless=True)

    assert [each.path for each in open_.asked] == ["/v1/models"]
    assert "Authorization" not in open_.asked[0].headers


async def test_an_engine_that_refuses_the_workers_key_is_refused():
    async with running_engine() as engine:
        refused = await refusal(engine, engine_key="another")

    assert refused.code == RefusalCode.ENGINE_REFUSES_KEY
    assert "another" not in refused.message


async def test_an_engine_that_lists_other_models_is_refused():
    async with running_engine(models=("qwen",)) as engine:
        refused = await refusal(engine, names=["llama"])

    assert refused.code == RefusalCode.ENGINE_SERVES_OTHER
    assert "'llama'" in refused.message
    assert "qwen" not in refused.message  # that would be the answer's own words


@pytest.mark.parametrize(
    "body",
    [
        b"<html>secret page</html>",
        b"",
        b"[]",
        b'{"data": "secret"}',
        b'{"data": [{"name": "llama"}]}',
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"x": ' + b"[" * 200_000,
    ],
)
async def test_a_list_that_is_none_is_refused_without_its_words(body):
    answers = {"/v1/models": answering(200, body)}
    async with running_engine(with_key=answers) as engine:
        refused = await refusal(engine)

    assert refused.code == RefusalCode.ENGINE_SERVES_OTHER
    assert "secret" not in refused.message


async def test_a_huge_answer_is_read_no_further_than_the_limit():
    sent = 0

    async def flood(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 20 * MAX_LISTING_BYTES:
            await response.write(b" " * 65_536)
            sent += 65_536
        return response

    async with running_engine(with_key={"/v1/models": flood}) as engine:
        refused = await refusal(engine)

    assert refused.code == RefusalCode.ENGINE_SERVES_OTHER
    assert sent < 4 * MAX_LISTING_BYTES  # what the sockets' buffers took beyond it


@pytest.mark.parametrize("door", ["answers", "with_key"])
async def test_a_slow_engine_is_unreachable_after_the_timeout(door):
    async def never(request):
        await asyncio.Event().wait()

    async with running_engine(**{door: {"/v1/models": never}}) as engine:
        refused = await asyncio.wait_for(refusal(engine, timeout=0.3), 10)

    assert refused.code == RefusalCode.ENGINE_UNREACHABLE
    assert "0.3 s" in refused.message


async def test_a_port_where_nothing_listens_is_unreachable():
    async with running_engine() as engine:
        pass  # its port is closed again

    refused = await refusal(engine)

    assert refused.code == RefusalCode.ENGINE_UNREACHABLE
    assert "Connection refused" in refused.message


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 401 " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 401 no\r\n" + b"A: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 401 no\r\n" + b"A: x\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 ok\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
        b"",
    ],
)
async def test_an_answer_that_is_no_http_is_unreachable(answer):
    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        refused = await refusal(FakeEngine(port=server.sockets[0].getsockname()[1]))

    assert refused.code == RefusalCode.ENGINE_UNREACHABLE


async def test_the_name_is_the_host_and_only_the_checked_address_is_called(monkeypatch):
    def no_lookup(*args, **kwargs):
        raise AssertionError("the challenge must not resolve again")

    async with running_engine() as engine:
        monkeypatch.setattr(socket, "getaddrinfo", no_lookup)
        resolved = at(engine, host="gpu-1.lan")
        await challenged(engine, resolved, extra_headers={"X-Team": "blue"})

    assert {each.host for each in engine.asked} == {f"gpu-1.lan:{engine.port}"}
    assert engine.asked[-1].headers["X-Team"] == "blue"


def make_certificate(folder: Path, name: str) -> Path:
    """A file with a certificate of its own for `name`, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1)
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "engine.pem"
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    key_bytes = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(key_bytes + certificate.public_bytes(pem))
    return path


@pytest.mark.parametrize(
    ("host", "is_trusted", "passes"),
    [
        ("gpu-1.lan", True, True),
        ("gpu-2.lan", True, False),
        ("gpu-1.lan", False, False),
    ],
)
async def test_the_certificate_must_be_trusted_and_for_the_claimed_name(
    host, is_trusted, passes, settings, tmp_path
):
    file = make_certificate(tmp_path, "gpu-1.lan")
    settings.UPSTREAM_CA_FILE = str(file) if is_trusted else ""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file)

    async with running_engine(tls=tls) as engine:
        outcome = challenged(engine, at(engine, "https", host))
        if passes:
            await outcome
        else:
            with pytest.raises(WorkerRefused, match="certificate") as refused:
                await outcome
            assert refused.value.code == RefusalCode.ENGINE_UNREACHABLE


async def test_proxies_and_cookies_stay_out_of_it(monkeypatch):
    async with running_engine() as proxy, running_engine() as engine:
        monkeypatch.setenv("http_proxy", proxy.url)
        engine.answers["/tokenize"] = answering(401, headers={"Set-Cookie": "a=b"})

        await challenged(engine)

    assert proxy.asked == []
    assert not any(each.cookies for each in engine.asked)
