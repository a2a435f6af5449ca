"""Health checks of suspects: real engines that hang, die and come back."""

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async

from controller.errors import UpstreamTimedOut
from controller.fleet.breaker import BreakerState, Cause
from controller.fleet.probing import MAX_AT_ONCE, Health, Prober
from controller.gateway import running_gateway
from controller.models import Worker
from tests.controller.raw_engine import answering, running_raw_engine
from tests.controller.relaying import (
    CALLER,
    KEY,
    MODEL,
    ledger_row,
    make_request,
    read_all,
    text_of,
)
from tests.factories import make_worker
from tests.mock_engine import running_mock_engine

pytestmark = pytest.mark.django_db(transaction=True)

new_worker = sync_to_async(make_worker)
TOO_OLD = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
FAILING = b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def quick(settings) -> None:
    """Rounds are run by the tests, and nothing waits for long."""
    settings.PROBE_INTERVAL = settings.LEDGER_FLUSH_INTERVAL = timedelta(hours=1)
    settings.PROBE_TIMEOUT = timedelta(seconds=0.2)
    settings.PROBE_AFTER = timedelta(seconds=0.2)
    settings.PROBE_FAILURES, settings.PROBE_SUCCESSES = 3, 2


@pytest.fixture
def engine():
    with running_mock_engine(key=KEY, models=(MODEL,)) as engine:
        yield engine
        engine.resume()


async def rounds(gateway, number: int) -> None:
    for _ in range(number):
        await gateway._prober.probe_suspects()


def load_of(gateway, row: Worker):
    return gateway.fleet.loads[row.id]


def view_of(gateway, row: Worker):
    return gateway.fleet.snapshot.workers[row.id]


def test_a_verdict_turns_only_after_several_checks_in_a_row(settings):
    health = Health()
    checks = [False, False, True, False, False, False, False, True, False, True, True]

    verdicts = [health.note(is_well) for is_well in checks]

    none = [None] * 5
    assert verdicts == [*none, False, None, None, None, None, True]


async def test_nobody_asks_a_worker_that_fares_well(transactional_db, engine):
    await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as gateway:
        await read_all(await gateway.open(CALLER, make_request()))

        await rounds(gateway, 2)

    assert await asyncio.to_thread(engine.requests, "/health") == []


async def test_an_engine_that_hangs_loses_its_requests_to_another(
    transactional_db, engine
):
    """Its port is open and its agent beats: nothing but a health check can tell."""
    hanging = await new_worker(MODEL, address=engine.url, engine_key=KEY)
    with running_mock_engine(key=KEY, models=(MODEL,)) as other:
        await new_worker(MODEL, address=other.url, engine_key=KEY, running=100)
        async with running_gateway() as gateway:
            engine.suspend()
            opening = asyncio.create_task(gateway.open(CALLER, make_request()))
            await asyncio.sleep(0.25)  # PROBE_AFTER has to pass
            await rounds(gateway, 2)
            assert not opening.done()

            await rounds(gateway, 1)

            assert text_of(await read_all(await opening)).startswith("t0 t1")
            row = await ledger_row(gateway)
            assert (row.status, row.num_retries) == (200, 1)
            assert "health check failed" in row.explanation["tries"][0]["failure"]
            assert gateway.fleet.why_not(view_of(gateway, hanging)) == "hanging"
            assert load_of(gateway, hanging).in_flight == 0


async def test_an_engine_that_thinks_for_long_and_is_well_is_left_alone(
    transactional_db, engine
):
    worker = await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as gateway:
        request = make_request("[[first_ms=800]]", stream=False)
        opening = asyncio.create_task(gateway.open(CALLER, request))
        await asyncio.sleep(0.25)

        await rounds(gateway, 5)

        assert len(await asyncio.to_thread(engine.requests, "/health")) == 5
        await (await opening).aclose()
        assert load_of(gateway, worker).breaker.state is BreakerState.CLOSED


async def test_alone_it_is_told_as_a_timeout(transactional_db, engine):
    await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as gateway:
        engine.suspend()
        opening = asyncio.create_task(gateway.open(CALLER, make_request()))
        await asyncio.sleep(0.25)
        await rounds(gateway, 3)

        with pytest.raises(UpstreamTimedOut):
            await opening


async def test_a_worker_out_of_reach_is_tried_again_once_it_is_back(
    transactional_db, engine
):
    worker = await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as gateway:
        gateway.fleet.refused_connection(view_of(gateway, worker), "refused")

        await rounds(gateway, 1)
        assert gateway.fleet.why_not(view_of(gateway, worker))
        await rounds(gateway, 1)

        assert not gateway.fleet.why_not(view_of(gateway, worker))


async def test_no_request_is_risked_while_the_port_is_shut(transactional_db, engine):
    worker = await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as gateway:
        engine.kill()
        gateway.fleet.refused_connection(view_of(gateway, worker), "refused")
        await rounds(gateway, 3)

        load_of(gateway, worker).breaker.hear()

        assert load_of(gateway, worker).breaker.is_down
        assert gateway.fleet.why_not(view_of(gateway, worker))


@pytest.mark.parametrize(("answer", "is_down"), [(TOO_OLD, False), (FAILING, True)])
async def test_any_answer_but_a_failure_is_a_sign_of_life(
    transactional_db, answer, is_down
):
    async with running_raw_engine(answering(answer)) as raw:
        worker = await new_worker(MODEL, address=raw.url)
        async with running_gateway() as gateway:
            for _ in range(5):
                breaker = load_of(gateway, worker).breaker
                breaker.fail(Cause.ANSWERING_ERRORS, "it answered 500")

            await rounds(gateway, 3)

            assert load_of(gateway, worker).breaker.is_down == is_down


async def test_a_strangers_engine_is_asked_for_its_models_with_its_key(
    transactional_db, engine
):
    worker = await new_worker(
        MODEL, address=engine.url, engine_key=KEY, engine="openai-compatible"
    )
    async with running_gateway() as gateway:
        gateway.fleet.refused_connection(view_of(gateway, worker), "refused")

        await rounds(gateway, 1)

    [asked] = await asyncio.to_thread(engine.requests, "/v1/models")
    assert (asked.method, asked.status) == ("GET", 200)


async def test_a_large_fleet_out_of_reach_is_asked_in_turns(transactional_db, engine):
    for number in range(MAX_AT_ONCE + 4):
        await new_worker(MODEL, address=f"{engine.url}/{number}", engine_key=KEY)
    async with running_gateway() as gateway:
        for view in gateway.fleet.snapshot.workers.values():
            gateway.fleet.refused_connection(view, "refused")
        prober = Prober(gateway.fleet, gateway.client)

        await prober.probe_suspects()
        asked = await asyncio.to_thread(engine.requests, "/health")
        await prober.probe_suspects()

        assert len(asked) == MAX_AT_ONCE
        assert all(health.asked_in_round for health in prober._health.values())


async def test_nobody_asks_a_worker_that_only_a_heartbeat_brings_back(
    transactional_db, engine, settings
):
    worker = await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as gateway:
        gateway.fleet.refused_connection(view_of(gateway, worker), "refused")
        load_of(gateway, worker).heard_at = -1e9

        await rounds(gateway, 1)

    assert await asyncio.to_thread(engine.requests, "/health") == []
