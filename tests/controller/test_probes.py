"""What machines that watch a web process are told."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.test import AsyncRequestFactory

from controller import probes
from controller.errors import AuthenticationFailed
from controller.fleet.wishes import Wish
from controller.gateway import running_gateway
from controller.metrics import observe
from controller.models import ApiKey
from tests.controller.test_ledger_queue import finished
from tests.factories import make_user, make_worker
from workers.protocol import Task

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "probed"


@pytest.fixture
async def gateway(transactional_db):
    await sync_to_async(make_worker)(MODEL, address="http://127.0.0.1:21002")
    async with running_gateway() as running:
        yield running


async def ask(probe):
    return await probe(AsyncRequestFactory().get("/"))


def request_from_afar(headers: dict[str, str] | None = None) -> ASGIRequest:
    request = AsyncRequestFactory().get("/", headers=headers)
    request.META["REMOTE_ADDR"] = "203.0.113.9"
    return request


async def metric(name: str) -> float | None:
    """The value of the one line that begins so."""
    page = (await ask(probes.metrics)).content.decode()
    values = [
        line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(name)
    ]
    assert len(values) < 2, values
    return float(values[0]) if values else None


async def test_a_started_process_is_ready_and_a_stopping_one_is_not(gateway):
    ready = await ask(probes.readyz)
    gateway.is_ready = False
    leaving = await ask(probes.readyz)

    assert (ready.status_code, leaving.status_code) == (200, 503)
    assert json.loads(ready.content)["models"] == [MODEL]
    assert (await ask(probes.healthz)).status_code == 200


async def test_a_failing_database_is_told_and_does_not_make_unready(gateway):
    gateway.loops.failing.add("flush")

    answer = await ask(probes.readyz)

    assert answer.status_code == 200
    assert json.loads(answer.content)["database"] == "failing"


async def test_gauges_show_the_running_gateway(gateway):
    worker = '{worker="http://127.0.0.1:21002"}'
    assert await metric(f"switchyard_worker_live{worker}") == 1
    wish = Wish(task=Task.CHAT)
    slot = gateway.fleet.acquire(gateway.fleet.snapshot.models[MODEL], wish)
    gateway.fleet.refused_connection(slot.worker)
    gateway.ledger.add(finished())

    assert await metric(f"switchyard_worker_live{worker}") == 0
    assert await metric(f"switchyard_worker_breaker{worker}") == 2
    assert await metric("switchyard_slots_taken") == 1
    assert await metric('switchyard_upstream_connections{use="busy"}') == 0
    assert await metric("switchyard_tasks") > 1
    assert await metric(f"switchyard_worker_queue_length{worker}") == 1
    index = f'switchyard_prefix_index_blocks{{model="{MODEL}",task="chat"}}'
    assert await metric(index) == 0
    assert await metric("switchyard_ledger_queued ") == 1
    assert await metric("switchyard_in_flight ") == 0


async def test_without_a_gateway_there_are_no_gauges_and_no_failure():
    assert await metric("switchyard_in_flight ") is None


async def test_finished_requests_are_counted_by_face_model_and_status():
    labels = f'face="api",model="{MODEL}"'
    requests = f'switchyard_requests_total{{{labels},status="200"}}'
    tokens = f'switchyard_tokens_total{{face="api",kind="completion",model="{MODEL}"}}'
    before = await metric(requests) or 0, await metric(tokens) or 0

    observe([finished(model=MODEL, ttft_seconds=0.2), finished(model=MODEL)])

    assert await metric(requests) == before[0] + 2
    assert await metric(tokens) == before[1] + 10


async def test_a_stranger_learns_whether_it_is_ready_and_no_names(gateway):
    elsewhere = request_from_afar()

    answer = await probes.readyz(elsewhere)

    assert json.loads(answer.content) == {"ready": True}
    with pytest.raises(AuthenticationFailed):
        await probes.metrics(elsewhere)


async def test_a_proxy_on_this_machine_does_not_speak_for_it(gateway):
    proxied = AsyncRequestFactory().get("/", headers={"X-Forwarded-For": "203.0.113.9"})

    with pytest.raises(AuthenticationFailed):
        await probes.metrics(proxied)


async def test_an_operators_key_reads_metrics_from_anywhere(gateway):
    _key, secret = await sync_to_async(ApiKey.issue)(
        await sync_to_async(make_user)(), "grafana", scopes=["fleet"]
    )
    elsewhere = request_from_afar({"Authorization": f"Bearer {secret}"})

    answer = await probes.metrics(elsewhere)

    assert b"switchyard_in_flight" in answer.content
