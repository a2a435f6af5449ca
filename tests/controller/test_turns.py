"""The lines of one process joined to its fleet: what frees room, and who gets it."""

import asyncio
import time
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async

from controller.errors import (
    ModelNotFound,
    NoWorkerAvailable,
    QueueFull,
    QueueShareFull,
    QueueTimedOut,
)
from controller.fleet.live import Fleet
from controller.fleet.snapshot import load_snapshot
from controller.fleet.turns import Turn, Turns
from controller.fleet.wishes import wish_for
from controller.identity.caller import Caller
from controller.models import Placement, ServedModel, Worker
from controller.relay.request import InferenceRequest
from tests.factories import make_worker
from workers.protocol import Heartbeat, Task, WorkerState

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "llama"
new_worker = sync_to_async(make_worker)


def caller(number: int, face: str = "api") -> Caller:
    return Caller(face=face, identity=f"key:{number}", user_id=number)


class Process:
    """The fleet and the lines of a web process, without its loops."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fleet = Fleet()
        self.turns = Turns(self.fleet, lambda: self.now)

    async def adopt(self) -> None:
        self.fleet.adopt(await sync_to_async(load_snapshot)())

    def ask(self, by: Caller, model: str = MODEL, excluded=(), **fields):
        values = {"endpoint": "/", "task": Task.CHAT, "model": model, "body": {}}
        request = InferenceRequest(**values | fields)
        view = self.fleet.snapshot.models[model]
        wish = wish_for(by, request, reads_prompt=False)
        return self.turns.ask(view, by, request, wish, excluded)

    @property
    def load(self):
        """Of the worker that there was at first."""
        return self.fleet.loads[self.row.pk]

    def beat(self, worker_id, running: int = 0) -> None:
        state = WorkerState.READY
        beat = Heartbeat(state=state, start_id="s", running=running)
        self.fleet.hear(worker_id, beat)


@pytest.fixture
async def process(transactional_db, settings) -> Process:
    """A process before one worker with one place, which is taken as `holder`."""
    settings.QUEUE_DEADLINE = timedelta(seconds=60)
    row = await new_worker(MODEL, max_concurrency=1)
    process = Process()
    await process.adopt()
    process.row = row
    process.holder = process.ask(caller(1))
    return process


def has_come(turn: Turn) -> bool:
    return turn.came.done()


# -- What frees room -------------------------------------------------------------------


async def test_a_request_that_ends_gives_its_place_to_exactly_the_next(process):
    first, second = process.ask(caller(2)), process.ask(caller(3))

    process.fleet.release(process.holder)

    assert (await first.within(0)).worker is process.holder.worker
    assert not has_come(second)
    assert process.load.in_flight == 1


async def test_nobody_comes_between_a_place_that_frees_and_who_waits_for_it(process):
    first = process.ask(caller(2))

    process.fleet.release(process.holder)
    newcomer = process.ask(caller(3))

    assert has_come(first)
    assert isinstance(newcomer, Turn)


async def test_a_worker_that_joins_serves_who_waits(process):
    turn = process.ask(caller(2))
    joined = await new_worker(MODEL)

    await process.adopt()

    assert (await turn.within(0)).worker.id == joined.id


async def test_a_worker_that_is_enabled_serves_who_waits(process):
    row = await new_worker(MODEL, is_enabled=False)
    await process.adopt()
    turn = process.ask(caller(2))
    assert not has_come(turn)

    await Worker.objects.filter(pk=row.pk).aupdate(is_enabled=True)
    await process.adopt()

    assert (await turn.within(0)).worker.id == row.pk


async def test_a_heartbeat_that_shows_room_serves_who_waits(process):
    other = await new_worker(MODEL, max_concurrency=4, running=4)  # by others
    await process.adopt()
    turn = process.ask(caller(2))
    assert not has_come(turn)

    process.beat(other.pk, running=3)

    assert (await turn.within(0)).worker.id == other.pk


async def test_a_tick_serves_what_no_event_spoke_of(process):
    turn = process.ask(caller(2))
    process.load.in_flight = 0  # as if a release went amiss

    process.turns.tick()

    assert has_come(turn)


async def test_overcommit_sends_so_many_more(process, settings):
    settings.QUEUE_OVERCOMMIT = 1
    await process.adopt()

    given = process.ask(caller(2))

    assert given.worker.id == process.row.pk
    assert isinstance(process.ask(caller(2)), Turn)


# -- Who waits, and who does not -------------------------------------------------------


async def test_tokenizing_takes_no_place_and_waits_for_none(process):
    await Placement.objects.aupdate(tasks=["chat", "tokenize"])
    await process.adopt()

    given = process.ask(caller(2), task=Task.TOKENIZE)

    assert given.worker.id == process.row.pk


async def test_a_model_without_a_live_worker_has_no_line(process):
    process.ask(caller(2))
    await Worker.objects.aupdate(is_enabled=False)
    await process.adopt()

    with pytest.raises(NoWorkerAvailable, match="disabled"):
        process.ask(caller(3))


async def test_those_in_line_outwait_a_worker_that_goes_for_a_moment(process):
    turn = process.ask(caller(2))
    await Worker.objects.aupdate(is_enabled=False)
    await process.adopt()
    process.fleet.release(process.holder)
    process.turns.tick()
    assert not has_come(turn)

    await Worker.objects.aupdate(is_enabled=True)
    await process.adopt()

    assert has_come(turn)


async def test_a_task_whose_workers_are_full_does_not_hold_up_another(process):
    other = await new_worker(max_concurrency=1)
    await Placement.objects.acreate(
        worker=other,
        served_model=await ServedModel.objects.aget(name=MODEL),
        tasks=["embeddings"],
        context_length=100,
    )
    await process.adopt()
    busy = process.ask(caller(2), task=Task.EMBEDDINGS)
    chat = process.ask(caller(2))
    embedding = process.ask(caller(3), task=Task.EMBEDDINGS)

    process.fleet.release(busy)

    assert has_come(embedding)
    assert not has_come(chat)


async def test_models_on_one_worker_take_turns(process):
    await Placement.objects.acreate(
        worker=process.row,
        served_model=await ServedModel.objects.acreate(name="adapter"),
        tasks=["chat"],
        context_length=100,
    )
    await process.adopt()
    models = [MODEL, MODEL, "adapter", "adapter"]
    turns = [process.ask(caller(2), model=name) for name in models]
    served = []

    for _ in turns:
        process.now += 1
        process.fleet.release(process.holder)
        [came] = [turn for turn in turns if has_come(turn)]
        served.append(came.model)
        process.holder = came.came.result()
        turns = [turn for turn in turns if not has_come(turn)]

    assert served[0] != served[1]
    assert served[2] != served[3]


async def test_a_retry_goes_before_the_line_and_not_back_to_the_worker_that_failed(
    process,
):
    other = await new_worker(MODEL, max_concurrency=1)
    await process.adopt()
    other_holder = process.ask(caller(9))
    waiting = process.ask(caller(2))

    retry = process.ask(caller(3), excluded={process.row.pk})
    process.fleet.release(process.holder)
    process.fleet.release(other_holder)

    assert (await retry.within(0)).worker.id == other.pk
    assert (await waiting.within(0)).worker.id == process.row.pk


async def test_keys_of_one_person_have_one_share(process):
    one = Caller(face="api", identity="key:5", user_id=5)
    two = Caller(face="api", identity="key:6", user_id=5)
    for each in (one, two):
        for _ in range(10):
            process.ask(each)

    newcomer = process.ask(caller(7))

    assert newcomer.first_position <= 2


# -- Who goes --------------------------------------------------------------------------


async def test_who_leaves_as_the_turn_comes_passes_the_place_on(process):
    leaver, next_one = process.ask(caller(2)), process.ask(caller(3))
    process.fleet.release(process.holder)
    assert has_come(leaver)

    process.turns.leave(leaver)

    assert has_come(next_one)
    assert process.load.in_flight == 1


async def test_a_task_that_is_cancelled_in_the_moment_of_its_turn_leaks_nothing(
    process,
):
    turn = process.ask(caller(2))

    async def wait() -> None:
        try:
            await turn.within(None)
        finally:
            process.turns.leave(turn)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    process.fleet.release(process.holder)  # its turn comes, and
    task.cancel()  # its client goes, before it runs again
    with pytest.raises(asyncio.CancelledError):
        await task

    assert process.load.in_flight == 0
    assert len(process.turns.lines[MODEL]) == 0


async def test_who_waited_until_the_deadline_is_refused_with_its_place(process):
    turn = process.ask(caller(2))
    soon = process.ask(caller(3), queue_seconds=5)
    process.now = 5
    process.turns.tick()

    assert not has_come(turn)
    with pytest.raises(QueueTimedOut, match=r"within the 5 s .* at place \d of 2"):
        await soon.within(0)
    assert len(process.turns.lines[MODEL]) == 1


async def test_a_client_may_shorten_its_wait_and_not_lengthen_it(process):
    turn = process.ask(caller(2), queue_seconds=10**6)

    assert turn.allowed_seconds == 60


async def test_a_wait_that_would_be_in_vain_is_refused_at_once(process):
    for number in range(2, 30):  # one turn each ten seconds
        process.ask(caller(number))
    for _ in range(3):
        process.now += 10
        process.fleet.release(process.holder)

    with pytest.raises(QueueTimedOut, match="would come in about 2") as caught:
        process.ask(caller(50))

    assert caught.value.retry_after == pytest.approx(200, abs=20)
    assert len(process.turns.lines[MODEL]) == 25


async def test_a_client_may_ask_not_to_wait_at_all(process):
    with pytest.raises(QueueTimedOut) as caught:
        process.ask(caller(2), queue_seconds=0)

    assert caught.value.retry_after >= 1
    assert len(process.turns.lines[MODEL]) == 0


async def test_a_slow_hour_is_forgotten_when_few_wait(process):
    process.ask(caller(2))
    process.now += 3600
    process.fleet.release(process.holder)

    assert isinstance(process.ask(caller(3)), Turn)


async def test_full_lines_refuse_and_say_whose_fault_it_is(process, settings):
    settings.QUEUE_LENGTH, settings.QUEUE_CALLER_LENGTH = 3, 2
    flood = [process.ask(caller(2)) for _ in range(2)]
    process.ask(caller(3))

    with pytest.raises(QueueShareFull) as share:
        process.ask(caller(2))
    process.ask(caller(4))
    with pytest.raises(QueueFull) as full:
        process.ask(caller(5))

    assert (share.value.status, full.value.status) == (429, 503)
    assert share.value.retry_after >= 1
    assert full.value.retry_after >= 1
    with pytest.raises(QueueShareFull):  # who made room is told
        await flood[1].within(0)
    assert not has_come(flood[0])


async def test_a_model_that_is_removed_takes_its_line_with_it(process):
    turn = process.ask(caller(2))
    await ServedModel.objects.aupdate(is_enabled=False)
    await process.adopt()
    process.turns.tick()

    with pytest.raises(ModelNotFound):
        await turn.within(0)


async def test_a_thousand_in_line_cost_an_arrival_next_to_nothing(process, settings):
    settings.QUEUE_CALLER_LENGTH = 1000
    for number in range(999):
        process.ask(caller(2 + number % 20))

    began = time.perf_counter()
    turn = process.ask(caller(1))
    process.turns.leave(turn)
    took = time.perf_counter() - began

    assert took < 0.005
