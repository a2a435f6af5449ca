from datetime import timedelta

import pytest
from celery import current_app
from django.utils.timezone import now

from config.celery import app
from controller import retention, tasks
from controller.models import LedgerEntry, ProcessHeard
from tests.factories import make_ledger_entry


def test_the_schedule_names_tasks_that_exist(settings):
    app.loader.import_default_modules()

    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}

    assert scheduled
    assert scheduled <= set(current_app.tasks)


def test_the_task_worker_leaves_a_sign(db):
    tasks.report_alive.delay()
    tasks.report_alive.delay()

    heard_at = ProcessHeard.last_heard_at(ProcessHeard.TASK_WORKER)
    assert now() - heard_at < timedelta(minutes=1)
    assert ProcessHeard.objects.count() == 1


def test_the_ledger_keeps_what_is_young_enough(db, settings):
    settings.LEDGER_RETENTION_DAYS = 30
    kept = make_ledger_entry(created_at=now() - timedelta(days=29))
    make_ledger_entry(created_at=now() - timedelta(days=31))

    tasks.purge_kind.delay("ledger entries")

    assert list(LedgerEntry.objects.all()) == [kept]


@pytest.mark.parametrize("num_old", [0, 1, 4, 5])
def test_pruning_goes_on_until_nothing_old_is_left(db, settings, monkeypatch, num_old):
    settings.LEDGER_RETENTION_DAYS = 1
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    make_ledger_entry()
    for _ in range(num_old):
        make_ledger_entry(created_at=now() - timedelta(days=2))

    assert retention.purge("ledger entries") == num_old
    assert LedgerEntry.objects.count() == 1
