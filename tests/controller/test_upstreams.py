"""Upstreams that run elsewhere: below a base path, several workers at one address."""

import pytest
from asgiref.sync import sync_to_async

from controller.fleet import registry
from controller.fleet.addresses import path_on_engine
from controller.fleet.errors import WorkerRefused
from controller.gateway import running_gateway
from controller.identity.caller import chat_caller
from controller.models import Placement, Worker
from controller.relay.request import InferenceRequest
from tests.controller.fake_engine import (
    answering,
    make_join,
    make_offer,
    running_engine,
)
from tests.factories import make_join_token, make_user
from workers.protocol import INFERENCE_PATHS, RefusalCode, Task

pytestmark = pytest.mark.django_db(transaction=True)

new_token = sync_to_async(make_join_token)
LISTING = b'[{"id": "llama"}, {"id": "qwen"}]'


@pytest.fixture
async def upstream():
    """A hosted server: its API lies below /api, its list of models is a bare one."""
    shut = {f"/api{path}": answering(403) for path in INFERENCE_PATHS[1:]}
    listed = {"/api/v1/models": answering(200, LISTING)}
    async with running_engine(answers=shut, with_key=listed) as running:
        yield running


def upstream_join(upstream, *names, **fields):
    values = {"base_path": "/api/v1", "shares_address": True}
    return make_join(upstream, *names, **values | fields)


@pytest.mark.parametrize(
    ("base_path", "path", "there"),
    [
        ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("/v1", "/tokenize", "/tokenize"),
        ("/api/v1", "/v1/chat/completions", "/api/v1/chat/completions"),
        ("/api/v1", "/tokenize", "/api/tokenize"),
        ("/v1beta/openai", "/v1/embeddings", "/v1beta/openai/embeddings"),
    ],
)
def test_a_path_is_found_below_or_beside_the_base_path(base_path, path, there):
    assert path_on_engine(base_path, path) == there


async def test_an_upstream_is_challenged_below_its_base_path_alone(upstream):
    _, secret = await new_token()

    await registry.register(upstream_join(upstream, "llama"), secret)

    assert (await Worker.objects.aget()).base_path == "/api/v1"
    assert {request.path for request in upstream.asked} == {
        "/api/v1/models",
        *(f"/api{path}" for path in INFERENCE_PATHS),
    }


async def test_an_upstream_may_list_its_models_to_anybody(upstream):
    _, secret = await new_token()
    upstream.answers["/api/v1/models"] = answering(200, LISTING)

    await registry.register(upstream_join(upstream, "llama"), secret)

    assert await Worker.objects.acount() == 1


async def test_a_wrong_key_is_found_where_the_list_is_open(upstream):
    _, secret = await new_token()
    upstream.answers["/api/v1/models"] = answering(200, LISTING)

    with pytest.raises(WorkerRefused) as refused:
        await registry.register(upstream_join(upstream, engine_key="wrong"), secret)

    assert refused.value.code == RefusalCode.ENGINE_REFUSES_KEY


@pytest.mark.parametrize(
    "base_path",
    ["", "v1", "/", "/v1/", "//v1", "/../v1", "/.well-known", "/a%2fb", "/v1?x=", "/é"],
)
async def test_a_base_path_that_can_be_read_in_two_ways_is_refused(upstream, base_path):
    _, secret = await new_token()

    with pytest.raises(WorkerRefused, match="base_path") as refused:
        await registry.register(upstream_join(upstream, base_path=base_path), secret)

    assert refused.value.code == RefusalCode.BAD_REQUEST
    assert upstream.asked == []


async def test_an_unknown_context_length_is_stored_as_none_known(upstream):
    _, secret = await new_token()
    offer = make_offer("llama", context_length=0)

    await registry.register(upstream_join(upstream, models=[offer]), secret)

    assert (await Placement.objects.aget()).context_length == 0


async def test_one_upstream_may_be_registered_for_different_models(upstream):
    _, secret = await new_token(is_reusable=True)

    await registry.register(upstream_join(upstream, "llama"), secret)
    await registry.register(upstream_join(upstream, "qwen"), secret)

    assert await Worker.objects.registered().acount() == 2


@pytest.mark.parametrize("shares", [True, False])
async def test_a_live_upstream_is_not_registered_twice(upstream, shares):
    _, secret = await new_token(is_reusable=True)
    await registry.register(upstream_join(upstream, "llama"), secret)

    again = upstream_join(upstream, "llama", shares_address=shares)

    with pytest.raises(WorkerRefused) as refused:
        await registry.register(again, secret)

    assert refused.value.code == RefusalCode.ADDRESS_TAKEN


async def test_an_upstream_cannot_be_put_beside_an_engine_of_ours(upstream):
    _, secret = await new_token(is_reusable=True)
    engine = upstream_join(upstream, "llama", shares_address=False)
    await registry.register(engine, secret)

    with pytest.raises(WorkerRefused) as refused:
        await registry.register(upstream_join(upstream, "qwen"), secret)

    assert refused.value.code == RefusalCode.ADDRESS_TAKEN


async def test_a_request_goes_below_the_base_path(upstream):
    answer = b'{"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}'
    path = "/api/v1/chat/completions"
    upstream.with_key[path] = answering(200, answer)
    _, secret = await new_token()
    await registry.register(upstream_join(upstream, "llama"), secret)
    request = InferenceRequest(
        endpoint="/v1/chat/completions", task=Task.CHAT, model="llama", body={}
    )

    async with running_gateway() as gateway:
        exchange = await gateway.open(await sync_to_async(some_caller)(), request)
        await exchange.aclose()

    assert exchange.body() == answer
    assert upstream.asked[-1].path == path


def some_caller():
    return chat_caller(make_user().pk)
