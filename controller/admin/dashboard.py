"""The console's first page: is the fleet well, is it used, and what to do next."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.utils.timezone import now
from django.utils.translation import gettext as _

from controller.durations import rough
from controller.fleet.worker_states import (
    COLOURS,
    ShownState,
    takes_requests,
    with_shown_state,
)
from controller.models import ApiKey, LedgerEntry, ProcessHeard, Worker

# More than four of its 15-second reports missing.
TASK_WORKER_SILENCE = timedelta(minutes=1)
TROUBLED = (
    ShownState.EXPIRED,
    ShownState.FAILED,
    ShownState.SILENT,
    ShownState.DISABLED,
    ShownState.DRAINING,
)
MAX_TROUBLED = 10


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The page's context with the figures that this operator may see. Six queries."""
    may = request.user.has_perm
    if may("controller.view_worker"):
        context |= _fleet()
    if may("controller.view_ledgerentry"):
        used = context["last_hour"] = _last_hour()
        context["last_hour_tokens"] = used["prompt_tokens"] + used["completion_tokens"]
    if may("controller.view_apikey"):
        context["has_keys"] = ApiKey.objects.active().exists()
    context["task_worker"] = _task_worker()
    return context


def _fleet() -> dict[str, Any]:
    registered = with_shown_state(Worker.objects.registered())
    troubled = registered.filter(shown_state__in=TROUBLED)[:MAX_TROUBLED]
    return {
        "fleet": Worker.objects.registered().aggregate(
            num_registered=Count("pk", distinct=True),
            num_live=Count("pk", filter=takes_requests(), distinct=True),
            num_models=Count(
                "served_models",
                filter=takes_requests() & Q(served_models__is_enabled=True),
                distinct=True,
            ),
        ),
        "troubled": [
            {
                "worker": worker,
                "state": ShownState(worker.shown_state).label,
                "colour": COLOURS[ShownState(worker.shown_state)],
                "silence": rough(worker.silence),
            }
            for worker in troubled
        ],
    }


def _last_hour() -> dict[str, int]:
    """Requests and tokens: one query, over the index by age."""
    recent = LedgerEntry.objects.filter(created_at__gte=now() - timedelta(hours=1))
    return {
        name: value or 0
        for name, value in recent.aggregate(
            num_requests=Count("pk"),
            num_failed=Count("pk", filter=Q(status__gte=500)),
            prompt_tokens=Sum("prompt_tokens"),
            completion_tokens=Sum("completion_tokens"),
        ).items()
    }


def _task_worker() -> dict[str, Any]:
    heard_at: datetime | None = ProcessHeard.last_heard_at(ProcessHeard.TASK_WORKER)
    if heard_at is None:
        return {"is_well": False, "heard": _("never")}
    silence = now() - heard_at
    return {
        "is_well": silence < TASK_WORKER_SILENCE,
        "heard": _("%s ago") % rough(silence),
    }
