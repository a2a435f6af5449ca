"""How a worker fares, in one word: computed in the query, so that lists can filter."""

from typing import Any

from django.conf import settings
from django.db.models import Case, CharField, Q, QuerySet, TextChoices, Value, When
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.models import Worker
from workers.protocol import WorkerState


class ShownState(TextChoices):
    LIVE = "live", _("live")
    SILENT = "silent", _("silent")
    EXPIRED = "expired", _("expired")
    LOADING = "loading", _("loading")
    FAILED = "failed", _("failed")
    DRAINING = "draining", _("draining")
    DISABLED = "disabled", _("disabled")
    LEFT = "left", _("left")


COLOURS = {
    ShownState.LIVE: "success",
    ShownState.SILENT: "warning",
    ShownState.EXPIRED: "danger",
    ShownState.LOADING: "info",
    ShownState.FAILED: "danger",
    ShownState.DRAINING: "info",
    ShownState.DISABLED: "warning",
    ShownState.LEFT: "default",
}


def takes_requests(prefix: str = "") -> Q:
    """Workers that are dispatched to now; `prefix` leads to them, as in `workers__`."""
    wanted = {
        "left_at": None,
        "is_enabled": True,
        "drain_wished": False,
        "expired_at": None,
        "state": WorkerState.READY,
        "last_heartbeat_at__gt": now() - settings.HEARTBEAT_EXPIRY,
    }
    return Q(**{prefix + name: value for name, value in wanted.items()})


def with_shown_state(workers: QuerySet[Worker]) -> QuerySet[Any]:
    """The workers, each with `shown_state`: the first of these that is so.

    A worker is *silent* when two heartbeats are missing, and *expired*, no longer
    dispatched to, after HEARTBEAT_EXPIRY.
    """
    late = now() - 2 * settings.HEARTBEAT_INTERVAL
    expired = now() - settings.HEARTBEAT_EXPIRY
    first_of = (
        (Q(left_at__isnull=False), ShownState.LEFT),
        (Q(is_enabled=False), ShownState.DISABLED),
        (
            Q(expired_at__isnull=False) | Q(last_heartbeat_at__lte=expired),
            ShownState.EXPIRED,
        ),
        (Q(state=WorkerState.FAILED), ShownState.FAILED),
        (Q(drain_wished=True) | Q(state=WorkerState.DRAINING), ShownState.DRAINING),
        (Q(last_heartbeat_at__lte=late), ShownState.SILENT),
        (Q(state=WorkerState.LOADING), ShownState.LOADING),
    )
    return workers.annotate(
        shown_state=Case(
            *(When(condition, then=Value(state)) for condition, state in first_of),
            default=Value(ShownState.LIVE),
            output_field=CharField(),
        )
    )
