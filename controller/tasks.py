"""What the task worker does; the schedule is CELERY_BEAT_SCHEDULE in the settings."""

import logging

from celery import shared_task

from controller import retention
from controller.ledger import reconciliation, rollups
from controller.limits import alerts, announcements
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
def purge() -> None:
    """Delete what is due of each kind; one that fails stops no other."""
    for kind in retention.kinds():
        purge_kind.delay(kind.name)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def purge_kind(name: str) -> None:
    """Delete the rows of this kind that its setting says are old enough."""
    if num_purged := retention.purge(name):
        logger.info("purged %s: %d", name, num_purged)
