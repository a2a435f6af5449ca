"""Breakers in the fleet: who is passed over, who comes back, and with what share."""

import logging
from datetime import timedelta

import pytest
from django.utils.timezone import now

from controller.errors import NoWorkerAvailable
from controller.fleet.breaker import NUM_TRIALS, Cause
from controller.fleet.breaker_rows import BreakerRows, write_breakers
from controller.fleet.clock import LoopClock
from controller.fleet.live import Fleet
from controller.models import Worker, WorkerBreaker
from tests.clocks import Clock
from tests.controller.test_fleet import (
    MODEL,
    acquire,
    adopt,
    beat,
    pass_seconds,
    take,
)
from tests.factories import make_worker


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def fleet(time, settings) -> Fleet:
    settings.DISPATCH_POLICY = "shortest_queue"
    settings.SLOW_START = timedelta(seconds=20)
    return Fleet(LoopClock(time))


def view_of(fleet: Fleet, worker: Worker):
    return fleet.snapshot.workers[worker.id]


def fail(fleet: Fleet, worker: Worker, cause=Cause.ANSWERING_ERRORS) -> None:
    for _ in range(5):
        fleet.breaker_of(view_of(fleet, worker)).fail(cause, "it answered 500")


# -- Who is passed over ----------------------------------------------------------------


def test_a_worker_that_fails_too_often_is_passed_over(db, fleet, caplog):
    failing, other = make_worker(MODEL), make_worker(MODEL, running=100)
    adopt(fleet)

    fail(fleet, failing)

    assert acquire(fleet).id == other.id
    assert f"{failing.address} is taken out: 5 of the last 5 failed" in caplog.text


@pytest.mark.parametrize("cause", [Cause.ANSWERING_ERRORS, Cause.BREAKING_OFF])
def test_the_last_worker_that_takes_requests_is_not_taken_from_all(db, fleet, cause):
    failing = make_worker(MODEL)
    adopt(fleet)

    fail(fleet, failing, cause)

    assert acquire(fleet).id == failing.id
    assert [model.name for model in fleet.models()] == [MODEL]


def test_a_last_resort_that_is_draining_is_none(db, fleet):
    failing = make_worker(MODEL, drain_wished=True)
    adopt(fleet)

    fail(fleet, failing)

    with pytest.raises(NoWorkerAvailable, match="1 draining"):
        acquire(fleet)


def test_a_worker_that_hangs_is_no_last_resort(db, fleet):
    hanging = make_worker(MODEL)
    adopt(fleet)

    fleet.breaker_of(view_of(fleet, hanging)).mark_down("its health check failed")

    with pytest.raises(NoWorkerAvailable, match="1 hanging"):
        acquire(fleet)
    assert fleet.models() == []


def test_a_few_go_on_trial_and_then_it_serves_again(db, fleet, time):
    worker, other = make_worker(MODEL), make_worker(MODEL, running=100)
    adopt(fleet)
    fail(fleet, worker)
    pass_seconds(fleet, time, 7)
    fleet.look_after()

    chosen = [acquire(fleet).id for _ in range(NUM_TRIALS + 1)]
    assert chosen == [worker.id] * NUM_TRIALS + [other.id]
    for _ in range(NUM_TRIALS):
        fleet.breaker_of(view_of(fleet, worker)).succeed()

    assert acquire(fleet).id == worker.id


def test_a_released_trial_leaves_its_place(db, fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.refused_connection(view_of(fleet, worker), "refused")
    fleet.hear(worker.id, beat())
    for _ in range(NUM_TRIALS):
        slot = take(fleet)
    with pytest.raises(NoWorkerAvailable, match="1 on trial"):
        acquire(fleet)

    fleet.release(slot)

    assert acquire(fleet).id == worker.id


def test_a_loading_engine_is_not_put_on_trial_by_its_heartbeat(db, fleet):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.refused_connection(view_of(fleet, worker), "refused")

    fleet.hear(worker.id, beat(state="loading"))
    fleet.loads[worker.id].state = "ready"

    with pytest.raises(NoWorkerAvailable, match="1 refusing connections"):
        acquire(fleet)


# -- Slow start ------------------------------------------------------------------------


def share_of(fleet: Fleet, worker: Worker) -> float:
    fleet.look_after()
    return fleet.loads[worker.id].slow_start


def test_workers_that_were_there_before_have_their_whole_share(db, fleet):
    worker = make_worker(MODEL)

    assert share_of(adopt(fleet), worker) == 1.0


def comes_later(fleet, time):
    make_worker(MODEL)
    adopt(fleet)
    worker = make_worker(MODEL)
    adopt(fleet)
    return worker


def joins_again(fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    Worker.objects.update(start_id="another start")
    adopt(fleet)
    return worker


def is_heard_again(fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    pass_seconds(fleet, time, 60)
    fleet.hear(worker.id, beat())
    return worker


def passes_its_trial(fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    fleet.refused_connection(view_of(fleet, worker), "refused")
    fleet.hear(worker.id, beat())
    acquire(fleet)
    for _ in range(NUM_TRIALS):
        fleet.breaker_of(view_of(fleet, worker)).succeed()
    return worker


@pytest.mark.parametrize(
    "comes_back", [comes_later, joins_again, is_heard_again, passes_its_trial]
)
def test_a_worker_that_comes_back_gets_its_share_little_by_little(
    db, fleet, time, comes_back
):
    worker = comes_back(fleet, time)

    shares = [share_of(fleet, worker)]
    for _ in range(4):
        pass_seconds(fleet, time, 5)
        fleet.hear(worker.id, beat())
        shares.append(share_of(fleet, worker))

    assert shares == pytest.approx([0.1, 0.25, 0.5, 0.75, 1.0])


def test_a_worker_that_is_heard_as_ever_keeps_its_share(db, fleet, time):
    worker = make_worker(MODEL)
    adopt(fleet)
    pass_seconds(fleet, time, 5)

    fleet.hear(worker.id, beat())

    assert share_of(fleet, worker) == 1.0


# -- Rows ------------------------------------------------------------------------------


def test_a_breaker_is_written_while_it_is_not_closed(db, fleet, time):
    worker, _well = make_worker(MODEL), make_worker(MODEL)
    adopt(fleet)
    rows = BreakerRows(fleet)
    assert rows.take_due() is None

    fleet.refused_connection(view_of(fleet, worker), "[Errno 111]")
    write_breakers(rows.take_due())

    row = WorkerBreaker.objects.current().get()
    assert (row.worker, row.state) == (worker, "open")
    assert row.reason == "refuses connections: [Errno 111]"
    assert rows.take_due() is None
    pass_seconds(fleet, time, 5)
    assert len(rows.take_due()) == 1  # written anew, or it would look forgotten

    fleet.loads[worker.id].breaker.reset()
    write_breakers(rows.take_due())
    assert not WorkerBreaker.objects.exists()
    pass_seconds(fleet, time, 60)
    assert rows.take_due() is None


def test_what_could_not_be_written_is_due_again(db, fleet):
    worker = make_worker(MODEL)
    adopt(fleet)
    rows = BreakerRows(fleet)
    fleet.refused_connection(view_of(fleet, worker), "refused")
    held = rows.take_due()

    rows.give_back()

    assert rows.take_due() == held


def test_rows_of_other_processes_stay_until_they_are_old(db):
    worker = make_worker(MODEL)
    fields = {"worker": worker, "state": "open", "reason": "", "since": now()}
    WorkerBreaker.objects.create(process="other:1", **fields)
    silent = now() - timedelta(minutes=1)
    WorkerBreaker.objects.create(process="killed:1", written_at=silent, **fields)
    long_ago = now() - timedelta(hours=2)
    WorkerBreaker.objects.create(process="killed:2", written_at=long_ago, **fields)

    write_breakers([])

    assert {row.process for row in WorkerBreaker.objects.all()} == {
        "other:1",
        "killed:1",
    }
    assert [row.process for row in WorkerBreaker.objects.current()] == ["other:1"]


@pytest.fixture(autouse=True)
def log_level(caplog):
    caplog.set_level(logging.INFO)
