"""The console's first page: is all well, who asks how much, and what to do next."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controller.admin.attention import attention
from controller.durations import rough
from controller.fleet.worker_states import (
    COLOURS,
    ShownState,
    takes_requests,
    with_shown_state,
)
from controller.gateway import gateway, is_running
from controller.ledger.overview import SPLITS, Overview, Span
from controller.models import ApiKey, BudgetAlert, LedgerEntry, ProcessHeard, Worker

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
NUM_ALERTS = 5
ALERTS_LAST = timedelta(days=7)
SPANS = (
    (1, gettext_lazy("24 hours")),
    (7, gettext_lazy("7 days")),
    (30, gettext_lazy("30 days")),
)
SPLIT_NAMES = {
    "model": gettext_lazy("By model"),
    "face": gettext_lazy("By face"),
    "team": gettext_lazy("By team"),
}
# (the column that it draws, its heading, how it is drawn)
PLOTS = (
    ("requests", gettext_lazy("Requests"), "bars"),
    ("tokens", gettext_lazy("Tokens"), "bars"),
    ("ttft", gettext_lazy("Seconds to the first token"), "line"),
    ("errors", gettext_lazy("Refused and failed"), "bars"),
)


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The page's context with what this operator may see. About thirty queries, however
    long the ledger is."""
    may = request.user.has_perm
    if may("controller.view_worker"):
        context |= _fleet()
    if may("controller.view_ledgerentry"):
        used = context["last_hour"] = _last_hour()
        context["last_hour_tokens"] = used["prompt_tokens"] + used["completion_tokens"]
        context |= _overview(request)
    if may("controller.view_budgetalert"):
        context["alerts"] = _alerts()
    if may("controller.view_apikey"):
        context["has_keys"] = ApiKey.objects.active().exists()
    if may("controller.view_worker"):
        context["lines"] = _waiting_lines()
    context["attention"] = attention(request)
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


def _overview(request: HttpRequest) -> dict[str, Any]:
    """The plots, and who uses most."""
    split = request.GET.get("by", "")
    split = split if split in SPLITS else "model"
    overview = Overview(Span.asked(request.GET.get("days")), split)
    return {
        "overview": overview,
        "spans": SPANS,
        "splits": SPLIT_NAMES,
        "plots": PLOTS,
    }


def _alerts() -> list[BudgetAlert]:
    """The latest of the week, each budget's highest."""
    recent = BudgetAlert.objects.filter(
        created_at__gte=now() - ALERTS_LAST, is_covered=False
    )
    return list(recent.with_owners().order_by("-created_at")[:NUM_ALERTS])


def _waiting_lines() -> list[tuple[str, int]]:
    """(model, how many wait) of this web process, the longest first. No query."""
    if not is_running():
        return []
    lengths = [(name, len(line)) for name, line in [*gateway().turns.lines.items()]]
    waiting = [each for each in lengths if each[1]]
    return sorted(waiting, key=lambda each: -each[1])[:NUM_ALERTS]


def _task_worker() -> dict[str, Any]:
    heard_at: datetime | None = ProcessHeard.last_heard_at(ProcessHeard.TASK_WORKER)
    if heard_at is None:
        return {"is_well": False, "heard": _("never")}
    silence = now() - heard_at
    return {
        "is_well": silence < TASK_WORKER_SILENCE,
        "heard": _("%s ago") % rough(silence),
    }
