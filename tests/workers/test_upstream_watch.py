"""What is found out about foreign servers, each as its own documentation shows it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from workers import endpoints
from workers.endpoints import Endpoint, EndpointModel, address_for, split_upstream
from workers.errors import BadAddress
from workers.protocol import JoinRequest, WorkerState
from workers.upstream_watch import UpstreamWatch

SGLANG_PAGE = """\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m"} 3
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{model_name="m"} 2
# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="m"} 0.28
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{model_name="m"} %d
"""


class Upstream:
    """A server whose pages a test writes; everything else is 404."""

    def __init__(self, pages: dict[str, Any]) -> None:
        self.pages = pages
        self.port = 0
        self.keys: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("Authorization"))
        page = self.pages.get(request.path)
        if page is None:
            return web.json_response({"error": "no such page"}, status=404)
        if isinstance(page, str):
            return web.Response(text=page)
        return web.json_response(page)


@asynccontextmanager
async def running(**pages: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream({f"/{path}": page for path, page in pages.items()})
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        upstream.port = runner.addresses[0][1]
        yield upstream
    finally:
        await runner.cleanup()


@asynccontextmanager
async def watched(server: Upstream, **fields: Any) -> AsyncIterator[UpstreamWatch]:
    endpoint = Endpoint(**{"name": "it", "upstream": server.url} | fields)
    async with aiohttp.ClientSession() as session:
        watch = UpstreamWatch(endpoint, session, 0.02, 0.04)
        watching = asyncio.create_task(watch.run())
        try:
            yield watch
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def told(server: Upstream, **fields: Any) -> JoinRequest:
    """What the controller would be told of the upstream."""
    async with watched(server, **fields) as watch, asyncio.timeout(10):
        return watch.join_request("http://localhost:8000", await watch.ready())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (the watch tells nobody)
            await asyncio.sleep(0.01)


def listing(**model: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "m", "object": "model"} | model]}


@pytest.mark.parametrize(
    ("pages", "length"),
    [
        ({"v1/models": listing(max_model_len=2048)}, 2048),  # vLLM, SGLang
        ({"v1/models": listing(context_length=128_000)}, 128_000),  # OpenRouter
        ({"v1/models": listing(context_window=8192)}, 8192),  # Groq
        (  # llama.cpp: what it was started with, not what the model was trained for
            {
                "v1/models": listing(meta={"n_ctx_train": 131_072}),
                "props": {"default_generation_settings": {"n_ctx": 4096}},
            },
            4096,
        ),
        ({"v1/models": listing(), "info": {"max_total_tokens": 3000}}, 3000),  # TGI
        (
            {
                "v1/models": listing(),
                "api/v0/models": {
                    "data": [
                        {"id": "m", "loaded_context_length": 512},
                        {"id": "n", "loaded_context_length": 1},
                    ]
                },
            },
            512,
        ),
        (
            {"v1/models": listing(), "api/show": {"parameters": "num_ctx   8192\n"}},
            8192,
        ),
        (
            {
                "v1/models": listing(),
                "api/show": {"model_info": {"llama.context_length": 131_072}},
                "api/ps": {"models": [{"name": "m", "context_length": 4096}]},
            },
            4096,
        ),
        ({"v1/models": listing()}, 0),  # a hosted one
    ],
)
async def test_the_context_length_is_what_the_server_was_given(
    pages: dict[str, Any], length: int
) -> None:
    async with running(**pages) as upstream:
        [offer] = (await told(upstream)).models

    assert offer.context_length == length


async def test_a_length_given_for_the_model_counts_first_and_for_all_last() -> None:
    async with running(**{"v1/models": listing(max_model_len=10)}) as upstream:
        model = EndpointModel(name="m", context_length=7)
        [by_model] = (await told(upstream, models=[model])).models
        [by_server] = (await told(upstream, context_length=99)).models

    assert (by_model.context_length, by_server.context_length) == (7, 10)


async def test_sglangs_numbers_are_read_and_a_restart_is_noticed() -> None:
    pages = {"v1/models": listing(), "metrics": SGLANG_PAGE % 100}
    async with running(**pages) as upstream, watched(upstream) as watch:
        first = await watch.ready()
        numbers = await watch.numbers()
        upstream.pages["/metrics"] = SGLANG_PAGE % 5
        await until(
            lambda: (
                watch.current is not None and watch.current.start_id != first.start_id
            )
        )

    assert first.engine == "sglang"
    assert (numbers.running, numbers.waiting) == (3, 2)
    assert numbers.kv_cache_usage == 0.28
    assert watch.num_restarts == 1


async def test_only_model_of_a_server_goes_by_any_name() -> None:
    async with running(**{"v1/models": listing(id="/models/x.gguf")}) as upstream:
        [offer] = (await told(upstream, models=[EndpointModel(name="x")])).models

    assert (offer.name, offer.upstream_model) == ("x", "/models/x.gguf")


async def test_a_model_that_is_not_there_is_waited_for_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    two = {"data": [{"id": "a"}, {"id": "b"}]}
    async with running(**{"v1/models": two}) as upstream:
        wanted = [EndpointModel(name="c")]
        async with watched(upstream, models=wanted) as watch:
            await until(lambda: "it serves a, b, not c" in caplog.text)
            upstream.pages["/v1/models"]["data"].append({"id": "c"})
            async with asyncio.timeout(10):
                await watch.ready()


async def test_models_that_come_and_go_are_followed() -> None:
    pages = {"v1/models": listing()}
    async with running(**pages) as upstream, watched(upstream) as watch:
        await watch.ready()
        upstream.pages["/v1/models"] = listing(id="another")
        await until(
            lambda: (
                watch.current is not None and watch.current.models[0].name == "another"
            )
        )


async def test_an_upstream_with_nothing_but_a_list_is_noticed_to_be_away() -> None:
    """Ollama has neither metrics nor a health page."""
    pages = {"v1/models": listing()}
    async with running(**pages) as server, watched(server) as watch:
        await watch.ready()

        server.pages.clear()
        await until(lambda: watch.current is None)
        assert watch.state is WorkerState.FAILED

        server.pages["/v1/models"] = listing()
        await until(lambda: watch.current is not None)


async def test_a_new_key_in_the_file_is_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    async with (
        running(**{"v1/models": listing()}) as upstream,
        watched(upstream, key_file=str(file)) as watch,
    ):
        assert (await watch.ready()).key == "old"
        file.write_text("new")
        await until(lambda: watch.current is not None and watch.current.key == "new")

    assert upstream.keys == {"Bearer old", "Bearer new"}


async def test_a_server_below_a_prefix_is_asked_there() -> None:
    async with running(**{"api/v1/models": listing(), "api/health": ""}) as upstream:
        request = await told(upstream, upstream=f"{upstream.url}/api/v1/")

    assert (request.address, request.base_path) == (upstream.url, "/api/v1")
    assert request.shares_address


@pytest.mark.parametrize(
    "page", ["not JSON", {"data": "x"}, [1, 2], {"data": [{"id": "!"}]}]
)
async def test_nonsense_is_a_trouble_and_not_the_end(
    page: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(**{"v1/models": page}) as upstream, watched(upstream) as watch:
        await until(lambda: "Waiting for" in caplog.text)
        upstream.pages["/v1/models"] = listing()
        async with asyncio.timeout(10):
            await watch.ready()

    assert watch.state in (WorkerState.READY, WorkerState.FAILED)


@pytest.mark.parametrize(
    ("given", "address", "base_path"),
    [
        ("gpu:8000", "http://gpu:8000", "/v1"),
        ("http://gpu:8000/v1/", "http://gpu:8000", "/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai", "/api/v1"),
        ("https://host/team", "https://host", "/team/v1"),
        ("https://g.example/v1beta/openai/", "https://g.example", "/v1beta/openai"),
        ("http://[::1]:11434", "http://[::1]:11434", "/v1"),
    ],
)
def test_an_upstream_is_an_address_and_a_base_path(
    given: str, address: str, base_path: str
) -> None:
    assert split_upstream(given) == (address, base_path)


def test_a_key_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(BadAddress) as refused:
        split_upstream("https://me:secret@host/v1")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "ours", "told_as"),
    [
        ({"upstream": "http://localhost:9/v1"}, "10.0.0.7", "http://10.0.0.7:9"),
        ({"upstream": "http://[::1]:9"}, "fd00::7", "http://[fd00::7]:9"),
        ({"upstream": "http://localhost:9"}, "127.0.0.1", "http://localhost:9"),
        ({"upstream": "http://gpu-1:9"}, "10.0.0.7", "http://gpu-1:9"),
        (
            {"upstream": "http://localhost:9", "worker_address": "gpu-1:8000"},
            "10.0.0.7",
            "http://gpu-1:8000",
        ),
    ],
)
def test_a_loopback_upstream_is_told_as_a_distant_controller_reaches_it(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], ours: str, told_as: str
) -> None:
    monkeypatch.setattr(endpoints, "local_address_towards", lambda controller: ours)

    endpoint = Endpoint(name="it", **fields)

    assert address_for("http://controller:8000", endpoint) == told_as
