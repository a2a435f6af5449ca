"""The fleet in memory: who is live, who is chosen, and what is counted on whom."""

import asyncio
import random
from collections import Counter
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils.timezone import now

from controller.errors import InvalidRequest, NoWorkerAvailable, WorkersFull
from controller.fleet.clock import LoopClock
from controller.fleet.heartbeats import (
    mark_expired,
    read_heartbeats,
    write_heartbeats,
)
from controller.fleet.live import Fleet
from controller.fleet.loads import Slot
from controller.fleet.snapshot import WorkerView, load_snapshot
from controller.fleet.wishes import Wish
from controller.models import Worker
from tests.clocks import Clock
from tests.factories import (
    make_adapter,
    make_placement,
    make_served_model,
    make_worker,
)
from workers.protocol import Heartbeat, Task, WorkerState

MODEL = "llama"


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def fleet(time, settings) -> Fleet:
    settings.HEARTBEAT_EXPIRY = timedelta(seconds=15)
    settings.DISPATCH_POLICY = "shortest_queue"
    return Fleet(LoopClock(time))


def pass_seconds(fleet: Fleet, time: Clock, seconds: float) -> None:
    """Time in which the loop ran as it should."""
    for _ in range(int(seconds * 2)):
        time.seconds += 0.5
        fleet.clock.tick()


def adopt(fleet: Fleet) -> Fleet:
    fleet.adopt(load_snapshot())
    return fleet


CHAT = Wish(task=Task.CHAT)


def take(fleet: Fleet, wish: Wish = CHAT, excluded=()) -> Slot:
    return fleet.acquire(fleet.snapshot.models[MODEL], wish, excluded)


def acquire(fleet: Fleet, excluded=()) -> WorkerView:
    """The worker that is chosen, for those who never release it."""
    return take(fleet, excluded=excluded).worker


def beat(state: WorkerState = WorkerState.READY, **fields: int) -> Heartbeat:
    return Heartbeat(state=state, start_id="s", **fields)


# -- The clock -------------------------------------------------------------------------


def test_the_clock_counts_the_time_in_which_the_loop_ran(time):
    clock = LoopClock(time)
    for _ in range(10):
        time.seconds += 0.5
        clock.tick()
    time.seconds += 0.25

    assert clock.now() == 5.25


def test_the_clock_leaves_out_a_stand_still(time):
    clock = LoopClock(time)
    time.seconds += 60
    before_the_tick = clock.now()
    clock.tick()

    assert before_the_tick == clock.now() == LoopClock.LONGEST_TICK


# -- Who is live -----------------------------------------------------------------------


def test_a_silent_worker_is_not_dispatched_to(db, fleet, time):
    make_worker(MODEL)
    adopt(fleet)

    pass_seconds(fleet, time, 14.5)
    acquire(fleet)
    pass_seconds(fleet, time, 0.5)

    with pytest.raises(NoWorkerAvailable, match="1 silent") as caught:
        acquire(fleet)
    assert caught.value.retry_after == 5
    assert fleet.models() == []


def test_a_heartbeat_brings_a_silent_worker_back(db, fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    pass_seconds(fleet, time, 60)

    assert fleet.hear(worker.id, beat())

    assert acquire(fleet).id == worker.id


def test_a_worker_that_comes_back_gets_requests_beside_the_others(db, fleet, time):
    back, steady = make_worker(MODEL), make_worker(MODEL)
    adopt(fleet)
    pass_seconds(fleet, time, 10)
    fleet.hear(steady.id, beat(running=9))
    pass_seconds(fleet, time, 10)
    assert acquire(fleet).id == steady.id  # the other is silent by now

    fleet.hear(back.id, beat())

    assert acquire(fleet).id == back.id


def test_our_own_stand_still_is_no_workers_silence(db, fleet, time):
    make_worker(MODEL)
    adopt(fleet)
    time.seconds += 3600  # the machine slept, or the loop was blocked
    fleet.clock.tick()

    assert acquire(fleet)


def test_a_restarted_controller_counts_silence_from_when_it_listens(db, fleet):
    make_worker(MODEL, last_heartbeat_at=now() - timedelta(hours=1))

    assert acquire(adopt(fleet))


def test_a_worker_marked_expired_is_not_live_for_a_new_process(db, fleet):
    worker = make_worker(MODEL, expired_at=now())
    adopt(fleet)

    with pytest.raises(NoWorkerAvailable, match="1 silent"):
        acquire(fleet)
    fleet.hear(worker.id, beat())
    assert acquire(fleet).id == worker.id


def test_a_heartbeat_of_an_unknown_worker_is_not_heard(db, fleet):
    left = make_worker(MODEL, left_at=now())
    adopt(fleet)

    assert not fleet.hear(left.id, beat())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"is_enabled": False}, "1 disabled"),
        ({"drain_wished": True}, "1 draining"),
        ({"state": "loading"}, "1 loading"),
        ({"state": "failed"}, "1 failed"),
    ],
)
def test_the_refusal_says_why_nothing_is_dispatched(db, fleet, fields, reason):
    make_worker(MODEL, **fields)
    adopt(fleet)

    with pytest.raises(NoWorkerAvailable, match=reason):
        acquire(fleet)


def test_a_worker_that_says_it_drains_gets_nothing_more(db, fleet):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.hear(worker.id, beat(WorkerState.DRAINING))

    with pytest.raises(NoWorkerAvailable, match="1 draining"):
        acquire(fleet)


def test_a_worker_that_joined_again_is_up(db, fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.refused_connection(acquire(fleet))
    pass_seconds(fleet, time, 60)

    Worker.objects.filter(pk=worker.pk).update(start_id="another start")

    assert acquire(adopt(fleet)).id == worker.id


def test_a_worker_that_refuses_connections_waits_for_its_next_heartbeat(db, fleet):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.refused_connection(acquire(fleet))

    with pytest.raises(NoWorkerAvailable, match="1 refusing connections"):
        acquire(fleet)
    adopt(fleet)  # a change of anything else does not bring it back
    with pytest.raises(NoWorkerAvailable):
        acquire(fleet)
    fleet.hear(worker.id, beat())
    assert acquire(fleet).id == worker.id


def test_a_request_that_outlives_its_workers_is_told_that_they_are_gone(db, fleet):
    make_worker(MODEL)
    adopt(fleet)
    model = fleet.snapshot.models[MODEL]
    Worker.objects.update(left_at=now())
    adopt(fleet)

    with pytest.raises(NoWorkerAvailable, match="1 gone"):
        fleet.acquire(model, CHAT)


def test_a_task_that_no_worker_does_is_the_clients_mistake(db, fleet):
    worker = make_worker()
    make_placement(worker, MODEL, tasks=["embeddings"])
    adopt(fleet)

    with pytest.raises(InvalidRequest, match="it does embeddings") as caught:
        acquire(fleet)
    assert caught.value.param == "model"


def test_a_model_is_served_only_by_workers_with_its_labels(db, fleet):
    model = make_served_model(MODEL, required_labels={"zone": "eu"})
    make_worker(model, labels={"zone": "us", "gpu": "h100"})
    make_worker(model)
    european = make_worker(model, labels={"zone": "eu", "gpu": "h100"}, running=50)
    adopt(fleet)

    assert acquire(fleet).id == european.id
    Worker.objects.filter(pk=european.pk).update(left_at=now())
    adopt(fleet)
    with pytest.raises(NoWorkerAvailable, match="registered with the labels zone=eu"):
        acquire(fleet)


# -- What other web processes heard ----------------------------------------------------


def test_another_processes_heartbeat_counts_here_too(db, fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    pass_seconds(fleet, time, 60)
    write_heartbeats({worker.id: (now(), beat(running=3, waiting=2))})

    for row in read_heartbeats():
        fleet.hear_of(*row)

    assert acquire(fleet).id == worker.id
    assert fleet.loads[worker.id].queue_length == 6


def test_a_drain_heard_elsewhere_stops_dispatch_here(db, fleet):
    worker = make_worker(MODEL)
    adopt(fleet)
    write_heartbeats({worker.id: (now(), beat(WorkerState.DRAINING))})

    for row in read_heartbeats():
        fleet.hear_of(*row)

    with pytest.raises(NoWorkerAvailable, match="1 draining"):
        acquire(fleet)


def test_a_heartbeat_in_the_rows_is_news_only_once(db, fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.hear(worker.id, beat())
    write_heartbeats(fleet.take_heartbeats())
    fleet.refused_connection(acquire(fleet))

    rows = read_heartbeats()
    pass_seconds(fleet, time, 0.5)  # the way from the thread to the loop takes time
    for row in rows:
        fleet.hear_of(*row)

    with pytest.raises(NoWorkerAvailable, match="refusing connections"):
        acquire(fleet)


# -- Counting --------------------------------------------------------------------------


def test_the_queue_is_what_was_reported_and_what_was_sent_since(db, fleet):
    worker = make_worker(MODEL)
    load = adopt(fleet).loads[worker.id]
    slots = [take(fleet) for _ in range(3)]

    fleet.hear(worker.id, beat(running=5, waiting=2))
    assert load.queue_length == 7  # our three are among them

    slots += [take(fleet) for _ in range(2)]
    assert load.queue_length == 9

    for slot in slots[:4]:
        fleet.release(slot)
    assert load.queue_length == 5


def test_the_queue_is_never_less_than_what_is_in_flight_from_here(db, fleet):
    worker = make_worker(MODEL)
    load = adopt(fleet).loads[worker.id]
    for _ in range(4):
        acquire(fleet)

    fleet.hear(worker.id, beat())  # what we sent has not yet come to it

    assert load.queue_length == 4


def test_what_other_processes_sent_counts_until_it_ends(db, fleet):
    shared, idle = make_worker(MODEL), make_worker(MODEL, running=2)
    adopt(fleet)
    fleet.hear_of_others({})

    fleet.hear_of_others({shared.id: 3})
    assert acquire(fleet).id == idle.id
    fleet.hear(shared.id, beat(running=3))  # the same three
    assert fleet.loads[shared.id].queue_length == 3
    fleet.hear_of_others({})

    assert fleet.loads[shared.id].queue_length == 0
    assert acquire(fleet).id == shared.id


def test_what_an_engine_reported_is_not_counted_again_when_others_are_first_heard(
    db, fleet
):
    worker = make_worker(MODEL, running=3)
    adopt(fleet)

    fleet.hear_of_others({worker.id: 3})
    assert fleet.loads[worker.id].queue_length == 3
    fleet.hear_of_others(None)

    assert fleet.loads[worker.id].queue_length == 3


def test_a_worker_that_others_have_filled_is_full_until_they_say_otherwise(db, fleet):
    worker = make_worker(MODEL, max_concurrency=2)
    adopt(fleet)
    has_room = []
    fleet.on_room = has_room.append
    fleet.hear_of_others({})
    fleet.hear_of_others({worker.id: 2})

    with pytest.raises(WorkersFull):
        acquire(fleet)
    fleet.hear_of_others({worker.id: 1})

    assert has_room == [worker.id]
    assert acquire(fleet).id == worker.id


def test_a_reload_keeps_what_is_in_flight(db, fleet):
    worker = make_worker(MODEL)
    slot = take(adopt(fleet))

    adopt(fleet)

    assert fleet.loads[worker.id].in_flight == 1
    fleet.release(slot)  # its view of the worker is an older snapshot's
    assert fleet.loads[worker.id].in_flight == 0


def test_releasing_a_worker_that_has_left_does_no_harm(db, fleet):
    make_worker(MODEL)
    slot = take(adopt(fleet))
    Worker.objects.update(left_at=now())

    adopt(fleet).release(slot)

    assert fleet.loads == {}


# -- Whose turn it is -----------------------------------------------------------------


def test_a_models_own_policy_goes_before_the_default(db, fleet, settings):
    model = make_served_model(MODEL, policy="lottery")
    make_worker(model, running=1000)
    make_worker(model)
    adopt(fleet)

    chosen = Counter(acquire(fleet).id for _ in range(200))

    assert len(chosen) == 2  # the shortest queue would take one alone


def test_equal_workers_share_the_requests_evenly(db, fleet):
    workers = [make_worker(MODEL) for _ in range(4)]
    adopt(fleet)

    chosen = Counter(acquire(fleet).id for _ in range(40))

    assert chosen == {worker.id: 10 for worker in workers}


def test_an_excluded_worker_is_passed_over(db, fleet):
    tried, other = make_worker(MODEL), make_worker(MODEL, running=100)
    adopt(fleet)

    assert acquire(fleet, {tried.id}).id == other.id
    with pytest.raises(NoWorkerAvailable, match="2 failing"):
        acquire(fleet, {tried.id, other.id})


async def test_slots_come_back_however_a_request_is_cancelled(
    transactional_db, settings
):
    worker = await sync_to_async(make_worker)(MODEL)
    fleet = Fleet()
    fleet.adopt(await sync_to_async(load_snapshot)())
    rng = random.Random(7)

    async def request() -> None:
        slot = take(fleet)
        try:
            await asyncio.sleep(rng.random() / 100)
        finally:
            fleet.release(slot)

    tasks = [asyncio.create_task(request()) for _ in range(200)]
    await asyncio.sleep(0.003)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert fleet.loads[worker.id].in_flight == 0


# -- Rows ------------------------------------------------------------------------------


def test_a_snapshot_knows_a_model_by_all_its_names(db, django_assert_num_queries):
    model = make_served_model(MODEL, aliases=["gpt-4", "small"])
    make_worker(model)
    make_worker(model, left_at=now())
    make_served_model("hidden", is_enabled=False)

    with django_assert_num_queries(6):
        snapshot = load_snapshot()

    assert set(snapshot.models) == {MODEL, "gpt-4", "small"}
    assert [view.name for view in snapshot.listed] == [MODEL]
    assert len(snapshot.models["small"].workers) == 1


def test_a_snapshot_costs_the_same_for_a_large_fleet(db, django_assert_num_queries):
    models = [make_served_model(aliases=[f"alias-{n}"]) for n in range(5)]
    for _ in range(5):
        make_worker(*models, takes_adapters=True)
    for model in models:
        make_adapter(model)

    with django_assert_num_queries(6):
        load_snapshot()


def test_a_view_shows_no_secret_when_printed(db):
    make_worker(MODEL, engine_key="k-secret", extra_headers={"x-key": "h-secret"})
    [view] = load_snapshot().workers.values()

    assert view.engine_key == "k-secret"
    assert "secret" not in repr(view).replace("credential_digest", "")


def test_a_worker_whose_key_cannot_be_read_does_not_stop_the_others(db, caplog):
    unreadable = make_worker(MODEL)
    Worker.objects.filter(pk=unreadable.pk).update(encrypted_engine_key="lost")
    readable = make_worker(MODEL)

    snapshot = load_snapshot()

    assert readable.id in snapshot.workers
    assert unreadable.id not in snapshot.workers
    assert unreadable.address in caplog.text


def test_an_ipv6_worker_is_connected_to_where_it_was_resolved(db):
    make_worker(MODEL, address="https://[::1]:8443", resolved_ip="::1")
    make_worker(MODEL, address="https://engine.test", resolved_ip="10.0.0.9")

    targets = {view.target for view in load_snapshot().workers.values()}

    assert {(t.ip, t.port, t.host, t.tls_name) for t in targets} == {
        ("::1", 8443, "[::1]:8443", "::1"),
        ("10.0.0.9", 443, "engine.test", "engine.test"),
    }


def test_heartbeats_are_written_in_one_statement(db, fleet, django_assert_num_queries):
    workers = [make_worker(MODEL, expired_at=now()) for _ in range(10)]
    adopt(fleet)
    for number, worker in enumerate(workers):
        fleet.hear(worker.id, beat(running=number, prompt_tokens_total=2**40))

    with django_assert_num_queries(1):
        write_heartbeats(fleet.take_heartbeats())

    written = Worker.objects.order_by("running")
    assert [worker.running for worker in written] == list(range(10))
    assert all(worker.expired_at is None for worker in written)
    assert all(worker.prompt_tokens_total == 2**40 for worker in written)


def test_a_heartbeat_is_taken_once_and_given_back_if_not_written(db, fleet):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.hear(worker.id, beat(running=1))

    taken = fleet.take_heartbeats()
    assert fleet.take_heartbeats() == {}
    fleet.give_back(taken)
    assert fleet.take_heartbeats() == taken


def test_a_later_heartbeat_is_not_overwritten_by_one_given_back(db, fleet):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.hear(worker.id, beat(running=1))
    taken = fleet.take_heartbeats()
    fleet.hear(worker.id, beat(running=2))

    fleet.give_back(taken)

    [(_, heartbeat)] = fleet.take_heartbeats().values()
    assert heartbeat.running == 2


def test_only_what_is_silent_for_all_processes_is_marked_expired(db, settings):
    settings.HEARTBEAT_EXPIRY = timedelta(seconds=15)
    silent = make_worker(last_heartbeat_at=now() - timedelta(seconds=16))
    heard_elsewhere = make_worker()
    left = make_worker(left_at=now(), last_heartbeat_at=now() - timedelta(seconds=16))

    assert mark_expired([silent.id, heard_elsewhere.id, left.id]) == 1

    silent.refresh_from_db()
    assert silent.expired_at is not None
    assert mark_expired([silent.id]) == 0  # its moment stays what it was
