"""The pipeline from a caller to an engine and back, with no Django request and no HTTP
server of ours: a gateway, a real engine process, and engines that break off."""

import asyncio
import logging
import socket
import struct
from contextlib import aclosing
from datetime import timedelta

import msgspec
import pytest
from asgiref.sync import sync_to_async

from controller.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    NoWorkerAvailable,
    ShuttingDown,
    UpstreamFailed,
    UpstreamTimedOut,
)
from controller.gateway import running_gateway
from controller.models import LedgerEntry
from controller.relay import sse
from tests.controller.raw_engine import (
    OK,
    STREAM,
    answering,
    answering_once,
    running_raw_engine,
)
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
from tests.factories import make_placement
from tests.mock_engine import running_mock_engine
from tests.servers import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def running_engine():
    with running_mock_engine(key=KEY, models=(MODEL, "upstream-name")) as engine:
        yield engine


@pytest.fixture
def engine(running_engine):
    running_engine.reset()
    return running_engine


@pytest.fixture(autouse=True)
def ledger_waits(settings) -> None:
    """Nothing is written before a test asks for it."""
    settings.LEDGER_FLUSH_INTERVAL = timedelta(hours=1)


@pytest.fixture
async def gateway(transactional_db, engine):
    """A gateway whose one worker is the mock engine."""
    await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as running:
        yield running


# -- Answers ---------------------------------------------------------------------------


async def test_a_stream_comes_through_whole_and_is_recorded(gateway, engine):
    request = make_request("one two three [[tokens=5]]", client_request_id="mine")

    exchange = await gateway.open(CALLER, request)
    stream = await read_all(exchange)

    assert text_of(stream) == "t0 t1 t2 t3 t4"
    assert stream.endswith(sse.DONE_EVENT)
    assert b'"usage"' not in stream
    assert exchange.finish_reason == "stop"
    assert exchange.usage.completion_tokens == 5
    row = await ledger_row(gateway)
    assert (row.request_id, row.client_request_id) == (request.request_id, "mine")
    assert (row.user_id, row.key_id, row.team_id, row.face) == (7, 3, 2, "api")
    assert (row.model, row.status, row.finish_reason) == (MODEL, 200, "stop")
    assert (row.stream, row.endpoint) == (True, "/v1/chat/completions")
    assert (row.prompt_tokens, row.completion_tokens) == (4, 5)
    assert not row.tokens_estimated
    assert 0 < row.overhead_seconds <= row.ttft_seconds <= row.duration_seconds
    assert await is_idle(gateway)


async def test_a_prompt_counts_as_work_until_its_first_output(gateway, engine):
    [load] = gateway.fleet.loads.values()
    waiting = make_request("word " * 400 + "[[first_ms=300 tokens=50]]")
    opening = asyncio.create_task(gateway.open(CALLER, waiting))
    await asyncio.to_thread(engine.wait_for, started=1)
    before = load.prefill_tokens

    async with aclosing(await opening):
        during = load.prefill_tokens, load.in_flight

    assert before == pytest.approx(500, abs=20)
    assert during == (0, 1)
    assert await is_idle(gateway)


async def test_usage_is_shown_to_a_client_who_asked(gateway):
    request = make_request("Hi [[tokens=2]]", show_usage=True)

    stream = await read_all(await gateway.open(CALLER, request))

    [usage] = [
        event["usage"] for event in sse.decode_events(stream) if "usage" in event
    ]
    assert usage["completion_tokens"] == 2


async def test_an_answer_that_does_not_stream_is_passed_on_as_it_is(gateway, engine):
    exchange = await gateway.open(CALLER, make_request("[[tokens=3]]", stream=False))
    async with aclosing(exchange):
        body = msgspec.json.decode(exchange.body())
        load = next(iter(gateway.fleet.loads.values()))
        assert load.in_flight == 0  # the engine is free before our client has read

    assert body["choices"][0]["message"]["content"] == "t0 t1 t2"
    row = await ledger_row(gateway)
    assert (row.stream, row.status, row.completion_tokens) == (False, 200, 3)
    assert await is_idle(gateway)


async def test_the_engine_gets_its_own_name_key_and_our_id(gateway, engine):
    placement = {"upstream_model": "upstream-name"}
    worker = await new_worker(
        address=engine.url.replace("127.0.0.1", "127.0.0.1."),
        engine_key=KEY,
        extra_body={"top_k": 3},
        extra_headers={"x-extra": "1"},
    )
    await sync_to_async(make_placement)(worker, "renamed", **placement)
    await gateway.reload()
    request = make_request(model="renamed")

    await read_all(await gateway.open(CALLER, request))

    [seen] = await asyncio.to_thread(engine.requests, "/v1/chat/completions")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["x-request-id"] == request.request_id
    assert seen.headers["x-extra"] == "1"
    assert seen.body["model"] == "upstream-name"
    assert seen.body["top_k"] == 3
    assert seen.body["stream_options"] == {"include_usage": True}


async def test_a_stream_without_its_customary_end_is_given_one(transactional_db):
    stop = b'data: {"choices": [{"finish_reason": "stop", "delta": {}}]}\n\n'
    length = b"content-length: %d\r\n\r\n" % len(stop)
    async with (
        running_raw_engine(answering(STREAM + length + stop)) as raw,
        gateway_before(raw.url) as gateway,
    ):
        assert await read_all(await gateway.open(CALLER, make_request())) == (
            stop + sse.DONE_EVENT
        )


# -- Workers that fail before the first byte -------------------------------------------


async def test_a_worker_that_refuses_connections_costs_a_retry(
    transactional_db, engine, caplog
):
    dead = f"http://127.0.0.1:{free_port()}"
    async with gateway_before(dead, engine.url, engine_key=KEY) as gateway:
        for _ in range(2):
            stream = await read_all(await gateway.open(CALLER, make_request()))
            assert text_of(stream).startswith("t0")

        await gateway.flush()
        retries = [row.num_retries async for row in LedgerEntry.objects.order_by("id")]
        assert retries == [1, 0]  # the second request did not even try it
        assert await is_idle(gateway)
    assert caplog.text.count("refuses connections") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        STREAM + b"content-length: 50\r\n\r\ndata: {",
        STREAM + b"content-length: 0\r\n\r\n",
        STREAM + b"content-length: 17\r\n\r\ndata: {not json\n\n",
        STREAM + b"content-length: 17\r\n\r\n<html>502</html>\n",
        STREAM + b"content-length: 26\r\n\r\n<html>\n\ndata: {}\n\n</html>",
        STREAM + b"x-huge: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/html\r\n\r\nhi",
    ],
)
async def test_what_fails_before_the_first_event_is_tried_elsewhere(
    transactional_db, engine, answer
):
    async with (
        running_raw_engine(answering_once(answer)) as raw,
        gateway_before(raw.url, engine.url, engine_key=KEY) as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, make_request()))

        assert text_of(stream).startswith("t0 t1")
        assert b"data: {data" not in stream
        row = await ledger_row(gateway)
        assert (row.status, row.num_retries) == (200, 1)
        assert await is_idle(gateway)


async def test_when_all_workers_fail_the_last_failure_is_told(transactional_db):
    async with (
        running_raw_engine(answering_once(b"")) as raw,
        gateway_before(raw.url) as gateway,
    ):
        with pytest.raises(UpstreamFailed, match="broke off"):
            await gateway.open(CALLER, make_request())

        row = await ledger_row(gateway)
        assert (row.status, row.error_code) == (502, "upstream_error")
        assert row.ttft_seconds is None
        assert await is_idle(gateway)


async def test_a_request_that_breaks_engines_is_not_given_to_all(transactional_db):
    async with (
        running_raw_engine(answering_once(b"")) as raw,
        gateway_before(*(f"{raw.url}/{number}" for number in range(5))) as gateway,
    ):
        with pytest.raises(UpstreamFailed):
            await gateway.open(CALLER, make_request())

        assert raw.num_connections == 3
        assert (await ledger_row(gateway)).status == 502
        assert await is_idle(gateway)


async def test_workers_that_refuse_connections_are_all_passed_over(
    transactional_db, engine
):
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(5)]
    async with gateway_before(*dead, engine.url, engine_key=KEY) as gateway:
        assert await read_all(await gateway.open(CALLER, make_request()))

        assert (await ledger_row(gateway)).num_retries == 5


async def test_a_model_without_workers_is_refused_and_recorded(gateway):
    worker_id = next(iter(gateway.fleet.loads))
    gateway.fleet.loads[worker_id].state = "loading"

    with pytest.raises(NoWorkerAvailable, match="1 loading"):
        await gateway.open(CALLER, make_request())

    row = await ledger_row(gateway)
    assert (row.status, row.worker_id) == (503, None)
    assert await is_idle(gateway)


async def test_a_silent_engine_is_given_up(transactional_db, engine, settings):
    settings.UPSTREAM_FIRST_BYTE_TIMEOUT = timedelta(milliseconds=50)
    hanging = make_request("[[hang_after=0]]")
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(UpstreamTimedOut):
            await gateway.open(CALLER, hanging)

        await asyncio.to_thread(engine.wait_for, cancelled=1)
        assert (await ledger_row(gateway)).status == 504
        assert await is_idle(gateway)


# -- Refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_too_long_a_prompt_is_told_in_openais_words(gateway, stream):
    request = make_request("word " * 5000, stream=stream)

    with pytest.raises(ContextLengthExceeded, match="4096"):
        await gateway.open(CALLER, request)

    row = await ledger_row(gateway)
    assert (row.status, row.error_code) == (400, "context_length_exceeded")
    assert row.num_retries == 0
    assert await is_idle(gateway)


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_a_failing_engines_own_words_stay_with_us(gateway, caplog, status):
    caplog.set_level(logging.INFO)
    with pytest.raises(UpstreamFailed) as caught:
        await gateway.open(CALLER, make_request(f"[[status={status}]]"))

    assert "mock engine" not in caught.value.message
    assert f"answered {status}" in caplog.text
    assert (await ledger_row(gateway)).status == 502


async def test_an_error_page_in_html_is_an_error_of_ours(transactional_db):
    page = b"<html>nginx at 10.0.0.7</html>"
    answer = b"HTTP/1.1 500 Oops\r\ncontent-length: %d\r\n\r\n%b" % (len(page), page)
    async with (
        running_raw_engine(answering(answer)) as raw,
        gateway_before(raw.url) as gateway,
    ):
        with pytest.raises(UpstreamFailed) as caught:
            await gateway.open(CALLER, make_request())

        assert "10.0.0.7" not in caught.value.message
        assert (await ledger_row(gateway)).status == 502


async def test_an_engine_that_repeats_a_long_request_to_refuse_it_has_not_failed(
    transactional_db,
):
    refusal = msgspec.json.encode({"error": {"message": "no: " + "x" * 200_000}})
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(refusal)
    async with (
        running_raw_engine(answering(head + refusal)) as raw,
        gateway_before(raw.url) as gateway,
    ):
        [load] = gateway.fleet.loads.values()
        for _ in range(load.breaker.rules.min_requests):
            with pytest.raises(InvalidRequest, match="refused the request"):
                await gateway.open(CALLER, make_request())

        assert load.breaker.state == "closed"
        assert await is_idle(gateway)


async def test_a_connection_reset_after_the_headers_is_tried_elsewhere(
    transactional_db, engine
):
    async def reset(connection) -> None:
        await connection.request()
        await connection.send(STREAM + b"transfer-encoding: chunked\r\n\r\n")
        linger = struct.pack("ii", 1, 0)
        end = connection.writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with (
        running_raw_engine(reset) as raw,
        gateway_before(raw.url, engine.url, engine_key=KEY) as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, make_request()))

        assert text_of(stream).startswith("t0 t1")
        assert (await ledger_row(gateway)).num_retries == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        OK.replace(b"2\r\n\r\nok", b'26\r\n\r\n{"error": {"message": "x"}}'),
        OK,
    ],
)
async def test_only_an_answer_passes_for_an_answer(transactional_db, answer):
    async with (
        running_raw_engine(answering(answer)) as raw,
        gateway_before(raw.url) as gateway,
    ):
        with pytest.raises(UpstreamFailed):
            await gateway.open(CALLER, make_request(stream=False))

        assert (await ledger_row(gateway)).status == 502
        assert await is_idle(gateway)


async def test_an_answer_beyond_the_bound_is_not_collected(
    transactional_db, settings, engine
):
    settings.MAX_ANSWER_BYTES = 100
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        with pytest.raises(UpstreamFailed):
            await gateway.open(CALLER, make_request(stream=False))

        assert await is_idle(gateway)


async def test_an_event_beyond_the_bound_is_not_collected(transactional_db, settings):
    settings.MAX_EVENT_BYTES = 1000
    event = STREAM + b"content-length: 9000\r\n\r\n" + b"data: " + b"x" * 5000
    async with (
        running_raw_engine(answering(event)) as raw,
        gateway_before(raw.url) as gateway,
    ):
        with pytest.raises(UpstreamFailed):
            await gateway.open(CALLER, make_request())

        assert await is_idle(gateway)


# -- Streams that end badly ------------------------------------------------------------


@pytest.mark.parametrize(
    ("directives", "code", "status"),
    [
        ("tokens=9 cut_after=4 interval_ms=20", "upstream_error", 502),
        ("tokens=9 error_after=4 interval_ms=20", "upstream_error", 502),
        ("tokens=9 hang_after=4 interval_ms=20", "upstream_timeout", 504),
    ],
)
async def test_a_stream_that_breaks_off_ends_with_one_error_event(
    gateway, settings, directives, code, status
):
    exchange = await gateway.open(CALLER, make_request(f"[[{directives}]]"))
    if "hang" in directives:
        settings.UPSTREAM_IDLE_TIMEOUT = timedelta(milliseconds=300)

    stream = await read_all(exchange)

    events = sse.decode_events(stream)
    errors = [event["error"] for event in events if "error" in event]
    assert [error["code"] for error in errors] == [code]
    assert text_of(b"".join(sse.split_events(stream)[:4])).startswith("t0")
    row = await ledger_row(gateway)
    assert (row.status, row.error_code) == (status, code)
    assert row.tokens_estimated
    assert row.completion_tokens > 0
    assert await is_idle(gateway)


async def test_garbage_in_a_stream_is_an_error_and_no_crash(transactional_db):
    good = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
    bad = b'data: {"usage": \xff\x00\n\n'
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (good, bad)]
    head = STREAM + b"transfer-encoding: chunked\r\n\r\n"
    async with (
        running_raw_engine(answering_once(head + chunks[0], chunks[1])) as raw,
        gateway_before(raw.url) as gateway,
    ):
        stream = await read_all(await gateway.open(CALLER, make_request()))

        assert stream.startswith(good)
        assert sse.decode_events(stream)[1]["error"]["code"] == "upstream_error"


# -- Clients that leave ----------------------------------------------------------------


async def test_a_client_that_leaves_in_mid_stream_ends_the_engines_work(
    gateway, engine
):
    request = make_request("[[tokens=1000 interval_ms=5]]")
    exchange = await gateway.open(CALLER, request)
    await exchange.read()
    await exchange.aclose()
    await exchange.aclose()

    await asyncio.to_thread(engine.wait_for, cancelled=1)
    row = await ledger_row(gateway)
    assert (row.status, row.tokens_estimated) == (499, True)
    assert 0 < row.completion_tokens < 1000
    assert await is_idle(gateway)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_before_the_first_byte_ends_it_too(
    gateway, engine, stream
):
    request = make_request("[[first_ms=60000]]", stream=stream)
    opening = asyncio.create_task(gateway.open(CALLER, request))
    await asyncio.to_thread(engine.wait_for, started=1)

    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    await asyncio.to_thread(engine.wait_for, cancelled=1)
    row = await ledger_row(gateway)
    assert (row.status, row.prompt_tokens, row.completion_tokens) == (499, 0, 0)
    assert await is_idle(gateway)


async def test_slots_and_rows_balance_when_many_leave_at_odd_moments(gateway, engine):
    async def one(seconds: float) -> None:
        request = make_request("[[tokens=20 interval_ms=2 first_ms=5]]")
        async with asyncio.timeout(seconds):
            await read_all(await gateway.open(CALLER, request))

    outcomes = await asyncio.gather(
        *(one(number / 1000) for number in range(1, 81)), return_exceptions=True
    )

    assert TimeoutError in {type(outcome) for outcome in outcomes}
    assert await is_idle(gateway)
    assert len(gateway.ledger) == 80
    async with asyncio.timeout(5):
        while (totals := await asyncio.to_thread(engine.totals)).in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert totals.started == totals.ended + totals.cancelled


async def test_a_client_that_reads_no_more_and_stays_frees_its_worker(
    gateway, engine, settings
):
    request = make_request("[[tokens=999 interval_ms=5 hang_after=300]]")
    exchange = await gateway.open(CALLER, request)
    await exchange.read()

    settings.UNREAD_TIMEOUT = timedelta(0)
    await asyncio.to_thread(engine.wait_for, 20, cancelled=1)

    assert await is_idle(gateway)
    row = await ledger_row(gateway)
    assert (row.status, row.error_code) == (499, "answer_not_read")
    [event] = sse.decode_events(await read_all(exchange))
    assert "Nothing was read of this stream" in event["error"]["message"]


# -- A server that stops ---------------------------------------------------------------


async def test_an_interrupted_stream_says_why_and_ends(gateway, engine):
    request = make_request("[[tokens=1000 interval_ms=5]]")
    exchange = await gateway.open(CALLER, request)
    await exchange.read()

    gateway.interrupt()
    rest = await read_all(exchange)

    assert sse.decode_events(rest)[-1]["error"]["code"] == "shutting_down"
    await asyncio.to_thread(engine.wait_for, cancelled=1)
    assert (await ledger_row(gateway)).error_code == "shutting_down"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_in_its_first_wait_is_interrupted_too(
    transactional_db, engine, stream
):
    request = make_request("[[first_ms=60000]]", stream=stream)
    async with gateway_before(engine.url, engine_key=KEY) as gateway:
        opening = asyncio.create_task(gateway.open(CALLER, request))
        await asyncio.to_thread(engine.wait_for, started=1)

        gateway.interrupt()
        with pytest.raises(ShuttingDown):
            await opening

        totals = await asyncio.to_thread(engine.wait_for, cancelled=1)
        assert totals.started == 1  # and was not tried elsewhere
        assert (await ledger_row(gateway)).status == 503
        assert await is_idle(gateway)


async def test_a_client_that_leaves_while_being_interrupted_is_cancelled(
    gateway, engine
):
    request = make_request("[[first_ms=60000]]")
    opening = asyncio.create_task(gateway.open(CALLER, request))
    await asyncio.to_thread(engine.wait_for, started=1)

    gateway.interrupt()
    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await is_idle(gateway)


async def test_an_answer_that_is_complete_is_not_spoilt_by_an_interruption(gateway):
    exchange = await gateway.open(CALLER, make_request("[[tokens=2]]", stream=False))
    gateway.interrupt()
    await exchange.aclose()

    assert (await ledger_row(gateway)).status == 200


async def test_a_stream_closed_under_its_reader_does_not_look_whole(gateway):
    exchange = await gateway.open(CALLER, make_request("[[tokens=999 interval_ms=5]]"))
    await exchange.read()

    gateway.interrupt()
    await exchange.aclose()  # as `stop` does where a slow client holds up its reader

    [event] = sse.decode_events(await exchange.read())
    assert event["error"]["code"] == "shutting_down"
    assert await exchange.read() == b""


async def test_nesting_that_only_just_decodes_never_crashes_the_relay(gateway):
    """The encoder stands deeper in the stack than the decoder did."""
    outcomes = set()
    for depth in range(800, 1000, 3):
        deep: object = 1
        for _ in range(depth):
            deep = [deep]
        request = make_request("[[tokens=1]]")
        request.body["documents"] = deep
        try:
            await read_all(await gateway.open(CALLER, request))
        except InvalidRequest:
            outcomes.add("refused")
        else:
            outcomes.add("answered")

    assert outcomes == {"answered", "refused"}
