"""The ledger beside the engines' own counts, start by start."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from controller import tasks
from controller.fleet.heartbeats import write_heartbeats
from controller.ledger.queue import write_batch
from controller.ledger.reconciliation import reconcile
from controller.models import EngineStart
from tests.controller.test_ledger_queue import finished
from tests.factories import make_operator, make_worker
from workers.protocol import Heartbeat, WorkerState

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker():
    return make_worker("llama")


def beat(worker, prompt, completion, *, minutes_ago=0, start_id="first start"):
    """The engine says what it has counted since it started."""
    heartbeat = Heartbeat(
        state=WorkerState.READY,
        start_id=start_id,
        prompt_tokens_total=prompt,
        generation_tokens_total=completion,
    )
    heard_at = now() - timedelta(minutes=minutes_ago)
    write_heartbeats({worker.id: (heard_at, heartbeat)})


def serve(worker, number=1, *, minutes_ago=5, **fields):
    """Requests of 10 prompt and 5 completion tokens."""
    moment = now() - timedelta(minutes=minutes_ago)
    fields = {"worker_id": worker.id, "created_at": moment} | fields
    write_batch([finished(**fields) for _ in range(number)])


def test_an_engine_that_served_us_alone_differs_by_nothing(worker):
    beat(worker, 1000, 100, minutes_ago=9)  # before, it served others
    serve(worker, 20)
    beat(worker, 1200, 200)

    assert reconcile() == 1

    start = EngineStart.objects.get()
    assert (start.engine_tokens, start.counted_tokens) == (300, 300)
    assert start.difference_ppm == 0


def test_what_reached_the_engine_past_us_is_the_difference(worker):
    beat(worker, 0, 0, minutes_ago=9)
    serve(worker, 20)
    beat(worker, 300, 100)

    reconcile()

    assert EngineStart.objects.get().difference_ppm == 250_000


def test_requests_that_were_cut_are_listed_apart(worker):
    beat(worker, 0, 0, minutes_ago=9)
    serve(worker, 20)
    serve(worker, 2, tokens_estimated=True, status=499)
    beat(worker, 220, 110)

    reconcile()

    start = EngineStart.objects.get()
    assert (start.counted_tokens, start.num_cut, start.cut_tokens) == (300, 2, 30)
    assert start.difference_ppm == 0


def test_each_start_has_its_own_count(worker):
    beat(worker, 0, 0, minutes_ago=30)
    serve(worker, 1, minutes_ago=25)
    beat(worker, 10, 5, minutes_ago=20)
    beat(worker, 0, 0, minutes_ago=10, start_id="second start")
    serve(worker, 2)
    beat(worker, 20, 10, start_id="second start")

    assert reconcile() == 2

    assert [start.difference_ppm for start in EngineStart.objects.all()] == [0, 0]
    assert [start.engine_tokens for start in EngineStart.objects.all()] == [30, 15]


def test_other_workers_requests_are_not_this_ones(worker):
    beat(worker, 0, 0, minutes_ago=9)
    serve(make_worker("llama"))
    beat(worker, 0, 0)

    reconcile()

    start = EngineStart.objects.get()
    assert (start.counted_tokens, start.difference_ppm) == (0, None)


def test_rows_written_late_correct_what_was_found(worker):
    beat(worker, 0, 0, minutes_ago=9)
    beat(worker, 10, 5, minutes_ago=1)
    reconcile()
    assert EngineStart.objects.get().difference_ppm == 1_000_000

    serve(worker)
    beat(worker, 10, 5)
    reconcile()

    assert EngineStart.objects.get().difference_ppm == 0


def test_a_start_that_was_not_heard_since_is_not_compared_again(worker):
    beat(worker, 10, 5)
    tasks.reconcile_ledger()

    with CaptureQueriesContext(connection) as queries:
        assert reconcile() == 0

    assert len(queries) == 1


def test_an_engine_without_counters_has_no_row(worker):
    heartbeat = Heartbeat(state=WorkerState.READY, start_id="silent")

    write_heartbeats({worker.id: (now(), heartbeat)})

    assert not EngineStart.objects.exists()


def test_starts_are_deleted_with_their_rows(worker, settings):
    days = settings.LEDGER_RETENTION_DAYS + 1
    beat(worker, 10, 5, minutes_ago=days * 24 * 60)
    beat(worker, 10, 5, start_id="second start")

    tasks.purge_kind("engine starts")

    assert EngineStart.objects.get().start_id == "second start"


def test_the_console_shows_the_difference(client, worker):
    client.force_login(make_operator())
    beat(worker, 0, 0, minutes_ago=9)
    serve(worker, 20)
    beat(worker, 300, 100)
    reconcile()

    page = client.get(reverse("admin:controller_enginestart_changelist"))

    assert "+250,000 ppm" in page.text


def test_the_console_shows_that_a_start_is_not_compared_yet(client, worker):
    client.force_login(make_operator())
    beat(worker, 10, 5)

    page = client.get(reverse("admin:controller_enginestart_changelist"))

    [cell] = re.findall(r'<td class="field-difference.*?</td>', page.text, re.DOTALL)
    assert re.sub("<.*?>", "", cell).strip() == "-"
