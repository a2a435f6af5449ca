"""What the task worker does; the schedule is CELERY_BEAT_SCHEDULE in the settings."""

import logging
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils.timezone import now

from controller import retention
from controller.fleet.samples import prune_samples
from controller.ledger import reconciliation, rollups
from controller.limits import alerts, announcements
from controller.limits.reconciliation import prune_spendings, reconcile_leases
from controller.models import ProcessHeard
from controller.models.usage import day_of

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
    alerts.prune_alerts()


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def alert_of_budgets() -> None:
    """Tell of budgets that have newly reached a threshold, and again of those alerts
    that could not be sent before."""
    alerts.raise_alerts()
    for alert_id in alerts.due_alerts():
        send_alert.delay(str(alert_id))


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def send_alert(alert_id: str) -> None:
    """Send this alert by mail and webhook, if it is still to be sent."""
    announcements.send(alert_id)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def roll_up_ledger() -> None:
    """Add to the usage by hour and day what the ledger has more."""
    rollups.roll_up()


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def reconcile_ledger() -> None:
    """Compare the ledger with the counters of the engines heard since the last time."""
    reconciliation.reconcile()


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def prune_ledger() -> None:
    """Delete what is older than LEDGER_RETENTION_DAYS, and rolled up."""
    before = rollups.rows_kept_since()
    rollups.roll_up()
    retention.prune_engine_starts(before)
    if num_pruned := retention.prune_ledger(before):
        logger.info("pruned %d ledger entries from before %s", num_pruned, before)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def prune_worker_samples() -> None:
    """Delete what the pages of the fleet show no more."""
    prune_samples()


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def prune_flags() -> None:
    """Delete what is older than MODERATION_RETENTION_DAYS."""
    before = now() - timedelta(days=settings.MODERATION_RETENTION_DAYS)
    if num_pruned := retention.prune_flags(before):
        logger.info("pruned %d moderation flags from before %s", num_pruned, before)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def prune_audit_log() -> None:
    """Delete what is older than AUDIT_RETENTION_DAYS."""
    before = now() - timedelta(days=settings.AUDIT_RETENTION_DAYS)
    if num_pruned := retention.prune_audit_log(before):
        logger.info("pruned %d entries of the audit log", num_pruned)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def prune_usage() -> None:
    """Delete roll-ups older than USAGE_HOURLY_RETENTION_DAYS and
    USAGE_DAILY_RETENTION_DAYS. Hours are kept as long as rows: a row that is written
    late has its day made anew from them."""
    kept_days = max(
        settings.USAGE_HOURLY_RETENTION_DAYS, settings.LEDGER_RETENTION_DAYS
    )
    retention.prune_usage(
        hours_before=day_of(now() - timedelta(days=kept_days)),
        days_before=now() - timedelta(days=settings.USAGE_DAILY_RETENTION_DAYS),
    )
