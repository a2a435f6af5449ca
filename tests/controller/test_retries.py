"""Which failures are tried again, how often, and which count against a worker."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from controller.errors import (
    InvalidRequest,
    NoWorkerAvailable,
    SwitchyardError,
    UpstreamFailed,
    UpstreamTimedOut,
)
from controller.fleet.breaker import BreakerState
from controller.gateway import running_gateway
from tests.controller.raw_engine import answering_once, running_raw_engine
from tests.controller.relaying import (
    CALLER,
    KEY,
    MODEL,
    gateway_before,
    is_idle,
    ledger_row,
    make_request,
    new_worker,
    read_all,
    text_of,
)
from tests.mock_engine import running_mock_engine

pytestmark = pytest.mark.django_db(transaction=True)

BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def running_engine():
    with running_mock_engine(key=KEY, models=(MODEL,)) as engine:
        yield engine


@pytest.fixture
def engine(running_engine):
    running_engine.reset()
    return running_engine


@pytest.fixture(autouse=True)
def quiet_loops(settings) -> None:
    settings.LEDGER_FLUSH_INTERVAL = timedelta(hours=1)
    settings.PROBE_INTERVAL = timedelta(hours=1)


@pytest.fixture
async def gateway(transactional_db, engine):
    async with gateway_before(engine.url, engine_key=KEY) as running:
        yield running


def states(gateway) -> list[BreakerState]:
    return [load.breaker.state for load in gateway.fleet.loads.values()]


async def ask(gateway, text: str, times: int, **fields) -> None:
    """Ask so many times, whatever comes of it."""
    for _ in range(times):
        with suppress(InvalidRequest, UpstreamFailed):
            await read_all(await gateway.open(CALLER, make_request(text, **fields)))


# -- What counts -----------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "text",
    ["word " * 5000, "[[status=400]]", "[[status=404]]", "[[status=429]]"],
    ids=["too long", "400", "404", "429"],
)
async def test_a_clients_own_mistakes_never_count(gateway, text, stream):
    for _ in range(10):
        with pytest.raises(SwitchyardError):
            await gateway.open(CALLER, make_request(text, stream=stream))

    assert states(gateway) == ["closed"]


@pytest.mark.parametrize(
    "text",
    [
        "[[status=500]]",
        "[[status=401]]",
        "[[cut_after=0]]",
        "[[error_after=0]]",
        "[[tokens=9 cut_after=4 interval_ms=1]]",
        "[[garbage]]",
    ],
)
async def test_a_workers_own_failures_open_its_breaker(gateway, text):
    await ask(gateway, text, 5)

    assert states(gateway) == ["open"]


async def test_a_stream_that_breaks_off_is_no_success(gateway):
    await ask(gateway, "Hi", 3)

    await ask(gateway, "[[tokens=9 cut_after=4 interval_ms=1]]", 4)

    assert states(gateway) == ["open"]


async def test_clients_that_leave_never_count(gateway):
    for _ in range(10):
        request = make_request("[[tokens=1000 interval_ms=5]]")
        await (await gateway.open(CALLER, request)).aclose()

    assert states(gateway) == ["closed"]


async def test_a_server_that_stops_blames_no_worker(gateway):
    for _ in range(10):
        request = make_request("[[tokens=1000 interval_ms=5]]")
        exchange = await gateway.open(CALLER, request)
        gateway.interrupt()
        await read_all(exchange)

    assert states(gateway) == ["closed"]


# -- What is tried again ---------------------------------------------------------------


async def test_a_silent_engine_is_left_for_another(transactional_db, engine, settings):
    settings.UPSTREAM_FIRST_BYTE_TIMEOUT = timedelta(seconds=0.2)
    with running_mock_engine(key=KEY, models=(MODEL,), first_ms=60_000.0) as silent:
        async with gateway_before(silent.url, engine.url, engine_key=KEY) as gateway:
            stream = await read_all(await gateway.open(CALLER, make_request()))

            assert text_of(stream).startswith("t0 t1")
            await asyncio.to_thread(silent.wait_for, cancelled=1)
            assert (await ledger_row(gateway)).num_retries == 1


async def test_after_the_deadline_nothing_is_tried_again(
    transactional_db, engine, settings
):
    settings.UPSTREAM_FIRST_BYTE_TIMEOUT = timedelta(seconds=0.2)
    settings.RETRY_DEADLINE = timedelta(seconds=0.1)
    with running_mock_engine(key=KEY, models=(MODEL,), first_ms=60_000.0) as silent:
        async with gateway_before(silent.url, engine.url, engine_key=KEY) as gateway:
            with pytest.raises(UpstreamTimedOut):
                await gateway.open(CALLER, make_request())

            assert (await ledger_row(gateway)).num_retries == 0
            assert await is_idle(gateway)


async def test_a_spent_budget_ends_the_retries_and_not_the_requests(
    transactional_db, engine, settings
):
    settings.RETRY_PERCENT = settings.RETRY_FLOOR = 0
    async with (
        running_raw_engine(answering_once(BUSY)) as busy,
        gateway_before(busy.url, engine.url, engine_key=KEY) as gateway,
    ):
        gateway.retries._held = 1.0
        await read_all(await gateway.open(CALLER, make_request()))

        with pytest.raises(NoWorkerAvailable, match="takes no more"):
            await gateway.open(CALLER, make_request())

        assert busy.num_connections == 2
        assert gateway.retries.num_refused == 1
        assert await is_idle(gateway)


async def test_who_is_out_of_reach_costs_nothing_of_the_budget(
    transactional_db, engine, settings
):
    settings.RETRY_PERCENT = settings.RETRY_FLOOR = 0
    dead = "http://127.0.0.1:9"
    async with gateway_before(dead, engine.url, engine_key=KEY) as gateway:
        gateway.retries._held = 0.0

        assert await read_all(await gateway.open(CALLER, make_request()))


async def test_a_fleet_that_fails_altogether_is_not_hammered(
    transactional_db, settings
):
    """All breakers open, all workers last resorts: every retry counts."""
    settings.RETRY_PERCENT, settings.RETRY_FLOOR = 20, 0
    async with running_raw_engine(answering_once(BUSY)) as busy:
        for number in range(4):
            await new_worker(MODEL, address=f"{busy.url}/{number}")
        async with running_gateway() as gateway:
            gateway.retries._held = 0.0
            for _ in range(100):
                with pytest.raises(NoWorkerAvailable, match="takes no more"):
                    await gateway.open(CALLER, make_request())

    # Until the breakers open each failure may be tried four times, afterwards a fifth.
    assert busy.num_connections <= 100 + 20 + 4 * 5
