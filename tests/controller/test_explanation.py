"""Why this worker? What is kept of a request's tries, and who may read it."""

import json
import uuid

import pytest
from asgiref.sync import sync_to_async
from django.urls import reverse

from controller.fleet.live import Fleet
from controller.fleet.loads import Slot, WorkerLoad
from controller.fleet.policies import Choice
from controller.gateway import running_gateway
from controller.ledger.queue import LedgerQueue, write_batch
from controller.models import LedgerEntry
from controller.relay.explanation import (
    MAX_CANDIDATES,
    MAX_HEADER_BYTES,
    MAX_TRIES,
    Explanation,
)
from tests.controller.relaying import CALLER, KEY, MODEL, make_request, read_all
from tests.controller.test_ledger_queue import finished
from tests.factories import make_ledger_entry, make_operator, make_worker
from tests.fleets import snapshot_of, worker_view
from tests.mock_engine import running_mock_engine
from tests.servers import free_port

LEDGER = reverse("admin:controller_ledgerentry_changelist")


def candidate(number: int) -> WorkerLoad:
    view = worker_view(MODEL, number, address=f"http://worker-{number}.internal:21002")
    fleet = Fleet()
    fleet.adopt(snapshot_of(MODEL, [view], "least_load"))
    return fleet.loads[view.id]


def make_slot(number: int = 0, num_scores: int = 3, **fields) -> Slot:
    scores = [(candidate(each), float(each)) for each in reversed(range(num_scores))]
    chosen = candidate(number)
    values = {
        "worker": chosen.worker,
        "choice": Choice(chosen, "least load", scores=scores),
        "prefill_tokens": 10,
        "policy_name": "least_load",
        "num_candidates": 500,
    }
    return Slot(**values | fields)


def test_the_best_candidates_are_told_and_the_others_counted():
    explanation = Explanation()
    explanation.chose(make_slot(num_scores=40))

    [told] = explanation.as_dict()["tries"]

    assert [score for _, score in told["scores"]] == list(range(MAX_CANDIDATES))
    assert told["candidates"] == 500


def test_a_request_that_nobody_was_chosen_for_has_nothing_to_explain():
    assert Explanation().as_json() is None


def test_many_tries_are_counted_and_the_last_one_is_kept():
    explanation = Explanation()
    slot = make_slot()
    for number in range(300):
        explanation.chose(slot)
        explanation.failed(f"failure {number}")

    told = explanation.as_dict()

    assert told["num_tries"] == 300
    assert len(told["tries"]) == MAX_TRIES
    assert told["tries"][-1]["failure"] == "failure 299"


def test_a_header_fits_whatever_it_explains():
    explanation = Explanation()
    for number in range(MAX_TRIES):
        explanation.chose(make_slot(number, num_scores=40))
        explanation.failed("schaltet ab – 关闭 \r\nx: y" * 100)

    header = explanation.as_header()

    assert len(header) <= MAX_HEADER_BYTES
    assert header.isascii()
    assert header.isprintable()
    assert len(json.loads(header)["tries"]) == MAX_TRIES


def test_words_are_made_when_the_row_is_written_and_not_before(db):
    explanation = Explanation()
    explanation.chose(make_slot())
    request = finished(explanation=explanation)
    explanation.failed("said later")

    write_batch([request])

    told = LedgerEntry.objects.get().explanation
    assert told == explanation.as_dict()
    assert told["tries"][0]["failure"] == "said later"


@pytest.mark.django_db(transaction=True)
async def test_the_ledger_tells_each_try_and_why_it_failed(settings):
    dead = f"http://127.0.0.1:{free_port()}"
    make = sync_to_async(make_worker)
    with running_mock_engine(key=KEY, models=(MODEL,)) as engine:
        await make(MODEL, address=dead)
        await make(MODEL, address=engine.url, engine_key=KEY, running=100)
        async with running_gateway() as gateway:
            await read_all(await gateway.open(CALLER, make_request()))
            await gateway.flush()

    row = await LedgerEntry.objects.aget()
    first, second = row.explanation["tries"]
    assert (first["worker"], first["candidates"]) == (dead, 2)
    assert "Connect call failed" in first["failure"]
    assert second["worker"] == engine.url
    assert "failure" not in second


# -- Who may read it -------------------------------------------------------------------


def test_an_operator_reads_it_in_words(client, db):
    client.force_login(make_operator())
    explanation = Explanation()
    explanation.chose(make_slot(1))
    explanation.failed("<b>refused</b>")
    explanation.chose(make_slot(2, num_candidates=1))
    row = make_ledger_entry(explanation=explanation.as_dict())

    url = reverse("admin:controller_ledgerentry_change", args=[row.pk])
    page = " ".join(client.get(url).content.decode().split())

    assert "worker-1.internal:21002</strong> of 500 candidates" in page
    assert "It failed: &lt;b&gt;refused&lt;/b&gt;" in page
    assert "was the only candidate (least_load): least load" in page


def test_a_row_of_before_has_a_page_too(client, db):
    client.force_login(make_operator())
    row = make_ledger_entry()

    url = reverse("admin:controller_ledgerentry_change", args=[row.pk])

    assert "No worker was chosen." in client.get(url).content.decode()


@pytest.mark.parametrize("field", ["request_id", "client_request_id"])
def test_a_row_is_found_by_our_id_and_by_the_clients(client, db, field):
    client.force_login(make_operator())
    wanted = uuid.uuid4().hex
    row = make_ledger_entry(**{field: wanted})
    make_ledger_entry(client_request_id="another")

    found = client.get(LEDGER, {"q": wanted}).context["cl"].result_list

    assert list(found) == [row]


def test_while_the_database_is_away_reasons_go_before_rows(monkeypatch):
    monkeypatch.setattr("controller.ledger.queue.MAX_EXPLAINED", 2)
    queue = LedgerQueue(limit=10)

    for _ in range(5):
        queue.add(finished(explanation=Explanation()))

    kept = [row.explanation is not None for row in queue.take()]
    assert kept == [True, True, False, False, False]
