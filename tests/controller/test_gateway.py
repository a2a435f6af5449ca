"""The gateway of one process: who is let in, what it learns of, what it writes."""

import asyncio
import json
import time
from contextlib import aclosing
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, OperationalError

from controller import gateway as gateway_module
from controller.errors import (
    AuthenticationFailed,
    ModelNotFound,
    RateLimited,
    ShuttingDown,
)
from controller.gateway import gateway, is_running, running_gateway
from controller.identity.caller import Caller, chat_caller, guest_caller
from controller.identity.imports import import_keys
from controller.models import ApiKey, LedgerEntry, Revision, ServedModel, Worker
from controller.relay.request import InferenceRequest
from tests.factories import (
    make_allowed_origin,
    make_key,
    make_served_model,
    make_worker,
)
from tests.mock_engine import running_mock_engine
from workers.protocol import Heartbeat, Task, WorkerState

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "engine-key"
MODEL = "mock-1"
SOMEBODY = chat_caller(1)

new_worker = sync_to_async(make_worker)
new_model = sync_to_async(make_served_model)
new_key = sync_to_async(make_key)


@pytest.fixture(scope="module")
def running_engine():
    with running_mock_engine(key=KEY, models=(MODEL,), tokens=2) as engine:
        yield engine


@pytest.fixture
def engine(running_engine):
    running_engine.reset()
    return running_engine


@pytest.fixture
async def running(transactional_db, engine, settings):
    settings.REVISION_INTERVAL = timedelta(milliseconds=50)
    settings.LEDGER_FLUSH_INTERVAL = timedelta(milliseconds=50)
    await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as running:
        yield running


def make_request(text: str = "Hi", model: str = MODEL) -> InferenceRequest:
    return InferenceRequest(
        endpoint="/v1/chat/completions",
        task=Task.CHAT,
        model=model,
        body={"messages": [{"role": "user", "content": text}], "stream": True},
        stream=True,
    )


async def answer(running, caller=SOMEBODY, **fields) -> bytes:
    exchange = await running.open(caller, make_request(**fields))
    async with aclosing(exchange):
        return b"".join([block async for block in exchange.events()])


async def until(holds) -> None:
    """Return as soon as `holds()` does; fails after two seconds."""
    deadline = time.monotonic() + 2
    while not holds():
        assert time.monotonic() < deadline, "did not come about within two seconds"
        await asyncio.sleep(0.01)


# -- Who is let in ---------------------------------------------------------------------


async def test_a_caller_has_no_more_under_way_than_allowed(running):
    caller = guest_caller("api", max_concurrent=2)
    slow = make_request("[[tokens=100 interval_ms=20]]")
    first, second = [await running.open(caller, slow) for _ in range(2)]

    with pytest.raises(RateLimited, match="the limit is 2 at once") as caught:
        await running.open(caller, slow)
    await answer(running, chat_caller(2))  # others are not held up
    await first.aclose()
    await answer(running, caller)
    await second.aclose()

    assert caught.value.status == 429
    assert caught.value.retry_after == 1
    assert not running.exchanges


async def test_a_request_that_fails_gives_its_place_back(running):
    caller = guest_caller("api", max_concurrent=1)
    for _ in range(3):
        with pytest.raises(Exception, match="failed to answer"):
            await answer(running, caller, text="[[status=500]]")

    assert await answer(running, caller)


async def test_a_model_that_is_not_allowed_is_as_unknown_as_one_that_never_was(running):
    restricted = Caller(face="api", identity="k", allowed_models=frozenset({"other"}))

    with pytest.raises(ModelNotFound) as refused:
        await answer(running, restricted)
    with pytest.raises(ModelNotFound) as unknown:
        await answer(running, SOMEBODY, model="never-was")

    assert refused.value.message == unknown.value.message.replace("never-was", MODEL)
    assert running.models(restricted) == []
    assert not running.exchanges


async def test_a_key_for_an_alias_may_use_the_model_that_it_sees_listed(running):
    served = await ServedModel.objects.aget(name=MODEL)
    await served.aliases.acreate(name="small")
    await running.reload()
    caller = Caller(face="api", identity="k", allowed_models=frozenset({"small"}))

    assert [model.name for model in running.models(caller)] == [MODEL]
    assert await answer(running, caller, model="small")
    assert await answer(running, caller, model=MODEL)


async def test_a_stopping_gateway_takes_nothing_more(running):
    running.is_stopping = True

    with pytest.raises(ShuttingDown) as caught:
        await answer(running)

    assert caught.value.retry_after == 2


# -- What it learns of -----------------------------------------------------------------


async def test_a_new_worker_is_dispatched_to_within_a_second(running, engine):
    address = engine.url.replace("127.0.0.1", "localhost")
    await new_worker("new", address=address, engine_key=KEY)
    changed = sync_to_async(Worker.objects.all().change)
    await changed(weight=1)  # as a join does, with the revision

    await until(lambda: "new" in [model.name for model in running.models(SOMEBODY)])


async def test_a_disabled_worker_gets_nothing_within_a_second(running):
    await sync_to_async(Worker.objects.all().change)(is_enabled=False)

    await until(lambda: running.models(SOMEBODY) == [])


async def test_a_revoked_key_is_refused_within_a_second(running):
    key, secret = await new_key()
    assert (await running.keys.caller(secret)).key_id == key.pk

    await sync_to_async(key.revoke)()

    async def use() -> None:
        while True:
            await running.keys.caller(secret)
            await asyncio.sleep(0.01)

    with pytest.raises(AuthenticationFailed):
        await asyncio.wait_for(use(), timeout=2)


async def test_a_stream_on_a_key_ends_when_it_is_revoked_and_others_go_on(running):
    (key, secret), (_, other) = [await new_key() for _ in range(2)]
    slow = "[[tokens=1000 interval_ms=5]]"
    streams = [
        asyncio.create_task(answer(running, await running.keys.caller(each), text=slow))
        for each in (secret, other)
    ]
    await until(lambda: all(each.ttft_seconds for each in running.exchanges))

    await sync_to_async(key.revoke)()
    cut = await asyncio.wait_for(streams[0], timeout=1)

    event = json.loads(cut.split(b"data: ")[-1])
    assert event["error"]["code"] == "invalid_api_key"
    assert "was revoked" in event["error"]["message"]
    assert not streams[1].done()
    running.interrupt()
    await streams[1]
    await running.flush()
    assert await LedgerEntry.objects.filter(key=key, status=401).acount() == 1


async def test_what_has_not_begun_to_answer_is_refused_when_its_key_is_revoked(running):
    key, secret = await new_key()
    caller = await running.keys.caller(secret)
    waiting = asyncio.create_task(answer(running, caller, text="[[first_ms=60000]]"))
    await until(lambda: running.exchanges)

    await sync_to_async(key.revoke)()

    with pytest.raises(AuthenticationFailed, match="was revoked"):
        await asyncio.wait_for(waiting, timeout=1)


async def test_an_expired_key_is_not_taken_for_a_revoked_one(running):
    key, secret = await new_key()
    caller = await running.keys.caller(secret)
    exchange = await running.open(caller, make_request("[[tokens=50 interval_ms=10]]"))
    async with aclosing(exchange):
        await ApiKey.objects.filter(pk=key.pk).aupdate(expires_at=key.created_at)
        await sync_to_async((await new_key())[0].revoke)()

        stream = b"".join([block async for block in exchange.events()])

    assert stream.endswith(b"data: [DONE]\n\n")


async def test_imported_keys_open_within_a_second(running):
    user = (await new_key())[0].user
    await sync_to_async(import_keys)(user, ["fastchat-key"])

    await until(lambda: running.keys._imported)

    assert (await running.keys.caller("fastchat-key")).user_id == user.pk


async def test_allowed_origins_are_known_within_a_second(running):
    row = await sync_to_async(make_allowed_origin)("https://app.example.com")
    await until(lambda: running.origins.find("https://app.example.com"))

    await sync_to_async(row.delete)()
    await sync_to_async(Revision.bump)("origins")

    await until(lambda: not running.origins)


async def test_the_use_of_a_key_is_written(running):
    key, secret = await new_key()
    await running.keys.caller(secret)

    await running._write_key_use()

    used = await ApiKey.objects.aget(pk=key.pk)
    assert used.last_used_at is not None


async def test_heartbeats_in_memory_become_rows_by_themselves(running):
    [worker_id] = running.fleet.loads
    beat = Heartbeat(state=WorkerState.READY, start_id="s", running=3)
    await until(lambda: not running.fleet.take_heartbeats())

    running.fleet.hear(worker_id, beat)
    await running._write_heartbeats()

    assert (await Worker.objects.aget()).running == 3


async def test_a_worker_heard_by_another_process_is_live_here(running, settings):
    settings.WEB_PROCESSES = 2
    [load] = running.fleet.loads.values()
    load.heard_at -= 60
    assert running.models(SOMEBODY) == []

    await Worker.objects.aupdate(last_heartbeat_at=load.heartbeat_at + timedelta(0, 1))

    await until(lambda: running.models(SOMEBODY))


# -- What it writes --------------------------------------------------------------------


async def test_finished_requests_become_rows_by_themselves(running):
    await answer(running)

    async with asyncio.timeout(2):
        while not await LedgerEntry.objects.acount():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert len(running.ledger) == 0


@pytest.fixture
def failing_writes(monkeypatch):
    """A switch: while its `error` is set, the ledger cannot be written."""

    class Switch:
        error: Exception | None = OperationalError("database is locked")

    switch, write = Switch(), gateway_module.write_batch

    def write_batch(batch):
        if switch.error is not None:
            raise switch.error
        write(batch)

    monkeypatch.setattr(gateway_module, "write_batch", write_batch)
    return switch


async def test_a_failing_database_loses_nothing(running, failing_writes, caplog):
    for _ in range(3):
        await answer(running)
    await until(lambda: running.database_fails)
    with pytest.raises(DatabaseError):
        await running.flush()
    await asyncio.sleep(0.2)  # the loop tries again a few times

    # Not at once: a try that is under way has the rows in its hands.
    await until(lambda: len(running.ledger) == 3)
    assert await answer(running)  # served from memory meanwhile
    assert caplog.text.count("the database fails") == 1
    failing_writes.error = None
    await until(lambda: not running.database_fails)
    await running.flush()  # one that began before the last answer was over lacks it
    assert await LedgerEntry.objects.acount() == 4
    assert caplog.text.count("answers again") == 1


async def test_an_error_of_the_drivers_own_is_a_failing_database_too(
    running, failing_writes, caplog
):
    failing_writes.error = InterfaceError("connection already closed")
    await answer(running)

    await until(lambda: running.database_fails)

    assert "Traceback" not in caplog.text
    failing_writes.error = None


async def test_rows_that_wait_are_in_order_and_within_the_bound(
    running, failing_writes, settings
):
    running.ledger._limit = 2
    for _ in range(4):
        await answer(running)
    with pytest.raises(DatabaseError):
        await running.flush()
    first, second = running.ledger._queued

    assert len(running.ledger) == 2
    assert running.ledger.num_dropped == 2
    assert first.created_at < second.created_at
    failing_writes.error = None


async def test_a_stop_writes_what_is_queued_and_ends_what_runs(
    transactional_db, engine, settings
):
    settings.LEDGER_FLUSH_INTERVAL = timedelta(hours=1)
    await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as running:
        assert gateway() is running
        await answer(running)
        slow = make_request("[[tokens=10000 interval_ms=10]]")
        abandoned = await running.open(SOMEBODY, slow)
        await abandoned.read()

    assert not is_running()
    statuses = [row.status async for row in LedgerEntry.objects.order_by("id")]
    assert statuses == [200, 503]
    await asyncio.to_thread(engine.wait_for, cancelled=1)


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_stop_ends_those_in_line_with_a_reason(
    transactional_db, engine, settings, is_told
):
    settings.QUEUE_NOTICE_AFTER = timedelta(seconds=0.01 if is_told else 60)
    address = engine.url
    await new_worker(MODEL, address=address, engine_key=KEY, max_concurrency=1)
    async with running_gateway() as running:
        slow = make_request("[[tokens=10000 interval_ms=10]]")
        holder = await running.open(SOMEBODY, slow)
        waiting = asyncio.create_task(answer(running, chat_caller(2)))
        await until(lambda: any(map(len, running.turns.lines.values())))
        if is_told:
            told = await running.open(chat_caller(3), make_request())
            assert (await told.read()).startswith(b": waiting")
        running.is_stopping = True
        running.interrupt()
        [ended] = await asyncio.gather(waiting, return_exceptions=True)

        if is_told:
            assert b"shutting_down" in ended
            assert b"shutting_down" in await told.read()
            assert await told.read() == b""
            await told.aclose()
        else:
            assert isinstance(ended, ShuttingDown)
        await holder.aclose()
        assert not running.exchanges
        assert all(load.in_flight == 0 for load in running.fleet.loads.values())


async def test_a_stream_that_is_closed_in_the_moment_of_its_turn_gives_it_back(
    transactional_db, engine, settings
):
    settings.QUEUE_NOTICE_AFTER = timedelta(seconds=0.01)
    address = engine.url
    await new_worker(MODEL, address=address, engine_key=KEY, max_concurrency=1)
    async with running_gateway() as running:
        holder = await running.open(SOMEBODY, make_request("[[hang_after=1]]"))
        waiting = await running.open(chat_caller(2), make_request())
        await waiting.read()
        reading = asyncio.create_task(waiting.read())
        await asyncio.sleep(0)

        await holder.aclose()  # its turn comes
        await waiting.aclose()  # and is given up before its reader runs again
        await reading

        assert await waiting.read() == b""
        assert all(load.in_flight == 0 for load in running.fleet.loads.values())
    await asyncio.to_thread(engine.wait_for, started=1)


async def test_nothing_of_an_answer_that_failed_comes_out_behind_its_error(
    transactional_db, engine, settings
):
    settings.QUEUE_NOTICE_AFTER = timedelta(seconds=0.01)
    address = engine.url
    await new_worker(MODEL, address=address, engine_key=KEY, max_concurrency=1)
    async with running_gateway() as running:
        holder = await running.open(SOMEBODY, make_request("[[hang_after=1]]"))
        waiting = await running.open(chat_caller(2), make_request("[[garbage]]"))
        await holder.aclose()

        *comments, last = [block async for block in waiting.events()]
        await waiting.aclose()

    assert all(comment.startswith(b": ") for comment in comments)
    assert b"upstream_error" in last


async def test_without_a_gateway_the_caller_is_told_so():
    with pytest.raises(RuntimeError, match="serve"):
        gateway()
