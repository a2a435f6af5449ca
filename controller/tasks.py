"""What the task worker does; the schedule is CELERY_BEAT_SCHEDULE in the settings."""

import logging
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils.timezone import now

from controller import retention
from controller.limits.reconciliation import prune_spendings, reconcile_leases
from controller.models import ProcessHeard

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def report_alive() -> None:
    """Leave a sign that beat and the task worker run, for the admin to show."""
    ProcessHeard.report(ProcessHeard.TASK_WORKER)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def reconcile_budgets() -> None:
    """Give back to budgets what processes that died had leased and not used."""
    if returned := reconcile_leases():
        logger.info("%d units of dead processes' leases are back", returned)
    prune_spendings()


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def prune_ledger() -> None:
    """Delete what is older than LEDGER_RETENTION_DAYS."""
    before = now() - timedelta(days=settings.LEDGER_RETENTION_DAYS)
    if num_pruned := retention.prune_ledger(before):
        logger.info("pruned %d ledger entries from before %s", num_pruned, before)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def prune_flags() -> None:
    """Delete what is older than MODERATION_RETENTION_DAYS."""
    before = now() - timedelta(days=settings.MODERATION_RETENTION_DAYS)
    if num_pruned := retention.prune_flags(before):
        logger.info("pruned %d moderation flags from before %s", num_pruned, before)
