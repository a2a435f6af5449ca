"""The challenge against real HTTP servers on loopback, good ones and bad ones."""

import asyncio
import socket

import pytest
from aiohttp import web

from controller.fleet.addresses import ResolvedAddress
from controller.fleet.challenge import MAX_LISTING_BYTES, challenge
from controller.fleet.errors import WorkerRefused
from tests.controller.fake_engine import answering, running_engine
from tests.mock_engine import running_mock_engine
from workers.protocol import INFERENCE_PATHS, RefusalCode

CALLS = [*INFERENCE_PATHS, "/v1/models"]


async def challenged(engine, names=("llama",), timeout=5.0, **fields):
    values = {"engine_key": engine.key, "extra_headers": {}, "keyless": False}
    resolved = ResolvedAddress("http", "127.0.0.1", engine.port, "127.0.0.1")
    await challenge(resolved, names=names, timeout=timeout, **values | fields)


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
        refused = await refusal(engine, timeout=0.3)

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
        port = server.sockets[0].getsockname()[1]
        resolved = ResolvedAddress("http", "127.0.0.1", port, "127.0.0.1")
        with pytest.raises(WorkerRefused) as refused:
            await challenge(
                resolved,
                engine_key="k",
                names=["llama"],
                extra_headers={},
                keyless=False,
                timeout=5,
            )

    assert refused.value.code == RefusalCode.ENGINE_UNREACHABLE


async def test_the_name_is_the_host_and_only_the_checked_address_is_called(monkeypatch):
    def no_lookup(*args, **kwargs):
        raise AssertionError("the challenge must not resolve again")

    async with running_engine() as engine:
        resolved = ResolvedAddress("http", "gpu-1.lan", engine.port, "127.0.0.1")
        monkeypatch.setattr(socket, "getaddrinfo", no_lookup)
        await challenge(
            resolved,
            engine_key=engine.key,
            names=["llama"],
            extra_headers={"X-Team": "blue"},
            keyless=False,
            timeout=5,
        )

    assert {each.host for each in engine.asked} == {f"gpu-1.lan:{engine.port}"}
    assert engine.asked[-1].headers["X-Team"] == "blue"


async def test_proxies_and_cookies_stay_out_of_it(monkeypatch):
    async with running_engine() as proxy, running_engine() as engine:
        monkeypatch.setenv("http_proxy", proxy.url)
        engine.answers["/tokenize"] = answering(401, headers={"Set-Cookie": "a=b"})

        await challenged(engine)

    assert proxy.asked == []
    assert not any(each.cookies for each in engine.asked)
