"""Finished requests wait for the database, within a bound, and none blocks another."""

import uuid

import pytest
from django.db import OperationalError

from controller.ledger.queue import FinishedRequest, LedgerQueue, write_batch
from controller.models import LedgerEntry


def finished(**fields) -> FinishedRequest:
    values = {
        "request_id": uuid.uuid4().hex,
        "client_request_id": "",
        "face": "api",
        "endpoint": "/v1/chat/completions",
        "user_id": 1,
        "key_id": 2,
        "team_id": None,
        "model": "llama",
        "worker_id": uuid.uuid4(),
        "stream": True,
        "status": 200,
        "error_code": "",
        "finish_reason": "stop",
        "prompt_tokens": 10,
        "cached_tokens": 2,
        "completion_tokens": 5,
        "tokens_estimated": False,
        "num_retries": 0,
        "num_moves": 0,
        "ttft_seconds": None,
        "duration_seconds": 0.5,
        "overhead_seconds": 0.001,
        "queued_seconds": 1.5,
    }
    return FinishedRequest(**values | fields)


def test_every_field_of_a_finished_request_comes_back_from_its_row(db):
    request = finished(client_request_id="mine", ttft_seconds=0.25)

    write_batch([request])

    row = LedgerEntry.objects.get()
    for name in FinishedRequest.__slots__:
        assert getattr(row, name) == getattr(request, name), name


@pytest.mark.parametrize("number", [0, 1, 1200])
def test_a_batch_of_any_size_is_written(db, number):
    write_batch([finished() for _ in range(number)])

    assert LedgerEntry.objects.count() == number


def test_a_repeated_batch_does_no_harm(db):
    batch = [finished(), finished()]
    write_batch(batch)

    write_batch([*batch, finished()])

    assert LedgerEntry.objects.count() == 3


@pytest.mark.parametrize(
    "impossible",
    [{"prompt_tokens": -1}, {"completion_tokens": 10**30}, {"status": None}],
)
def test_a_row_that_can_never_be_written_does_not_hold_back_the_others(
    db, caplog, impossible
):
    bad = finished(**impossible)

    write_batch([finished(), bad, finished()])

    assert LedgerEntry.objects.count() == 2
    assert f"request {bad.request_id} goes unrecorded" in caplog.text


def test_a_database_that_fails_is_not_mistaken_for_a_bad_row(db, monkeypatch):
    def fail(batch):
        raise OperationalError("disk I/O error")

    monkeypatch.setattr("controller.ledger.queue._insert", fail)

    with pytest.raises(OperationalError):
        write_batch([finished()])


def test_above_the_bound_the_newest_are_dropped_and_counted(caplog):
    queue = LedgerQueue(limit=2)
    kept = [finished(), finished()]
    for request in [*kept, finished(), finished()]:
        queue.add(request)

    assert queue.take() == kept
    assert queue.num_dropped == 2
    assert caplog.text.count("queue full") == 1


def test_what_comes_back_is_first_in_line_and_within_the_bound():
    queue = LedgerQueue(limit=3)
    old, new = [finished(), finished()], [finished(), finished()]
    for request in old:
        queue.add(request)
    taken = queue.take()
    for request in new:
        queue.add(request)

    queue.give_back(taken)

    assert queue.take() == [*old, new[0]]
    assert queue.num_dropped == 1
