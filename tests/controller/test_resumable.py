"""What resumable streams hold is bounded, and nothing that was not read is dropped."""

import asyncio
from datetime import timedelta
from functools import partial
from timeit import repeat

import pytest

from controller.errors import StreamGone
from controller.relay.resumable import EventLog
from tests.controller.relaying import (
    CALLER,
    KEY,
    MODEL,
    gateway_before,
    is_idle,
    make_request,
    text_of,
)
from tests.mock_engine import running_mock_engine

pytestmark = pytest.mark.django_db(transaction=True)

LONG = "[[tokens=400 interval_ms=1]]"
ANSWER = " ".join(f"t{number}" for number in range(400))


@pytest.fixture(scope="module")
def running_engine():
    with running_mock_engine(key=KEY, models=(MODEL,)) as engine:
        yield engine


@pytest.fixture
async def gateway(transactional_db, running_engine, settings):
    settings.LEDGER_FLUSH_INTERVAL = timedelta(hours=1)
    running_engine.reset()
    async with gateway_before(running_engine.url, engine_key=KEY) as running:
        yield running
    assert running.resumable.num_bytes == 0


async def begin(gateway, text: str = LONG):
    """(the reader, the stream) of a new resumable stream."""
    exchange = await gateway.open(CALLER, make_request(text))
    reader = gateway.resumable.begin(exchange)
    return reader, reader._stream


async def read_all(reader) -> bytes:
    body = b""
    while block := await reader.read():
        body += block
    await reader.aclose()
    return body


def without_ids(body: bytes) -> bytes:
    lines = body.split(b"\n")
    return b"\n".join(line for line in lines if not line.startswith(b"id: "))


def log_of(num_events: int) -> EventLog:
    log = EventLog()
    for number in range(num_events):
        log.append(b"data: %d\n\n" % number)
    return log


def test_a_log_gives_the_events_from_any_number_on():
    log = log_of(5)
    log.drop_oldest()

    assert log.since(2).startswith(b"id: 2\ndata: 1\n\nid: 3\n")
    assert log.since(5) == b"id: 5\ndata: 4\n\n"
    assert log.since(6) == b""


def test_the_latest_event_of_a_long_log_costs_what_it_costs_of_a_short_one():
    short, long = log_of(10), log_of(20_000)

    costs = [
        min(repeat(partial(log.since, log.next - 1), number=20, repeat=50))
        for log in (short, long)
    ]

    assert costs[1] < 10 * costs[0]  # it was 200 times as much


async def test_a_full_log_waits_for_its_reader_and_loses_nothing(gateway, settings):
    settings.RESUME_STREAM_BYTES = 5000
    reader, stream = await begin(gateway)
    body, sizes = b"", set()
    while block := await reader.read():
        body += block
        sizes.add(stream.log.size)
        await asyncio.sleep(0.002)  # a slow reader

    assert text_of(without_ids(body)) == ANSWER
    assert max(sizes) <= 5000 + 500
    await reader.aclose()


async def test_what_was_read_gives_way_and_cannot_be_had_again(gateway, settings):
    settings.RESUME_STREAM_BYTES = 5000
    reader, stream = await begin(gateway)
    await read_all(reader)

    with pytest.raises(StreamGone, match="not kept any more"):
        gateway.resumable.resume(CALLER, stream.id, "")
    again = gateway.resumable.resume(CALLER, stream.id, str(stream.log.first - 1))
    assert (await read_all(again)).endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_nobody_reads_waits_with_what_is_unread(gateway, settings):
    settings.RESUME_STREAM_BYTES = 5000
    reader, stream = await begin(gateway)
    first = await reader.read()
    await reader.aclose()
    async with asyncio.timeout(10):
        while stream.log.size < 4500:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    number = first.count(b"id: ")
    rest = await read_all(gateway.resumable.resume(CALLER, stream.id, str(number)))

    assert text_of(without_ids(first + rest)) == ANSWER


async def test_streams_together_are_bounded_and_what_nobody_reads_goes_first(
    gateway, settings
):
    settings.RESUME_MAX_BYTES = 60_000
    reader, over = await begin(gateway, "[[tokens=100]]")
    await read_all(reader)
    sizes = []
    for _ in range(4):
        reader, stream = await begin(gateway, "[[tokens=100]]")
        assert text_of(without_ids(await read_all(reader)))
        sizes.append(gateway.resumable.num_bytes)

    assert max(sizes) <= 60_000
    with pytest.raises(StreamGone, match="needed for other streams"):
        gateway.resumable.resume(CALLER, over.id, "")
    assert gateway.resumable.resume(CALLER, stream.id, "")


async def test_a_stream_that_is_left_too_long_is_closed_and_nothing_is_held(
    gateway, settings, running_engine
):
    settings.RESUME_SECONDS = timedelta(milliseconds=50)
    reader, stream = await begin(gateway, "[[tokens=4000 interval_ms=5]]")
    await reader.read()
    await reader.aclose()

    await asyncio.to_thread(running_engine.wait_for, cancelled=1)
    await asyncio.wait([stream.pumping])
    assert await is_idle(gateway)
    assert gateway.resumable.num_bytes == 0
    with pytest.raises(StreamGone, match="left alone"):
        gateway.resumable.resume(CALLER, stream.id, "")


async def test_a_server_that_stops_gives_up_what_nobody_reads(gateway):
    kept, _ = await begin(gateway)
    reader, left = await begin(gateway, "[[tokens=4000 interval_ms=5]]")
    await reader.aclose()

    gateway.resumable.close_left()

    await asyncio.wait([left.pumping])
    assert text_of(without_ids(await read_all(kept))) == ANSWER


async def test_a_stream_that_is_interrupted_tells_its_reader(gateway):
    reader, _ = await begin(gateway, "[[tokens=4000 interval_ms=5]]")
    await reader.read()

    gateway.interrupt()

    assert b'"shutting_down"' in await read_all(reader)
