"""The fleet as it is now, a worker's own page, and how one is added."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.decorators import permission_required
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from controller.admin.fleet_words import fleet_words
from controller.admin.join_tokens import ENGINES, join_command
from controller.fleet.arrivals import arrival_of
from controller.fleet.board import read_workers
from controller.fleet.decisions import DECISIONS, decide, weigh
from controller.fleet.series import Series, series_of
from controller.fleet.worker_states import ShownState, with_shown_state
from controller.models import EngineStart, JoinToken, Placement, Worker
from controller.site_address import site_address

HOUR = timedelta(hours=1)
HOURS = (1, 6, 24)
MAX_HISTORY = 50
TOKEN_LASTS = timedelta(hours=1)

view_workers = permission_required("controller.view_worker", raise_exception=True)
change_workers = permission_required("controller.change_worker", raise_exception=True)
add_workers = permission_required("controller.add_jointoken", raise_exception=True)


@require_safe
@view_workers
def fleet_page(request: HttpRequest) -> HttpResponse:
    """All workers, kept up to date by the page's socket."""
    workers = read_workers()
    series = series_of(HOUR)
    page = page_fields(request) | {
        "workers": workers,
        "sparks": {str(worker_id): each for worker_id, each in series.items()},
    }
    context = {
        **admin.site.each_context(request),
        "title": _("Fleet"),
        "page": _plain(page),
        "has_workers": bool(workers),
    }
    return TemplateResponse(request, "controller/admin/fleet.html", context)


@require_safe
@view_workers
def worker_page(request: HttpRequest, worker_id: UUID) -> HttpResponse:
    """One worker: how it fares and fared, what it does now, and who decided what."""
    worker = get_object_or_404(with_shown_state(Worker.objects.all()), pk=worker_id)
    given = request.GET.get("hours", "")
    hours = int(given) if given in map(str, HOURS) else HOURS[0]
    series = series_of(hours * HOUR, [worker.pk]).get(worker.pk, Series([]))
    page = page_fields(request) | {"workers": read_workers(only=worker.pk)}
    page["socket"] += f"?worker={worker.pk}"
    context = {
        **admin.site.each_context(request),
        "title": _("Worker %s") % worker.address.partition("://")[2],
        "worker": worker,
        "state": ShownState(worker.shown_state).label,
        "page": _plain(page),
        "plots": _plain(_columns(series)),
        "has_samples": bool(series.times),
        "hours": hours,
        "offered_hours": HOURS,
        "placements": Placement.objects.filter(worker=worker).select_related(
            "served_model"
        ),
        "history": _history(worker),
        "starts": EngineStart.objects.filter(worker=worker)[:MAX_HISTORY],
    }
    return TemplateResponse(request, "controller/admin/worker_live.html", context)


def page_fields(request: HttpRequest) -> dict[str, Any]:
    """What the scripts of both pages begin with."""
    unknown = "00000000-0000-0000-0000-000000000000"
    return {
        "socket": f"{reverse('admin:index').removesuffix('admin/')}ws/fleet/",
        "now": now().timestamp(),
        "mayChange": request.user.has_perm("controller.change_worker"),
        "workerUrl": reverse("fleet_worker", args=[unknown]).replace(unknown, "ID"),
        "words": fleet_words(),
    }


def _plain(content: Any) -> Any:
    """As `json_script` takes it."""
    return msgspec.to_builtins(content)


def _columns(series: Series) -> dict[str, list[Any]]:
    """The columns that the plots name."""
    return {
        "times": series.times,
        "queue": series.queue,
        "kv": [None if each is None else each * 100 for each in series.kv],
        "speed": series.tokens_per_second,
        "ttft": series.ttft,
        "answered": [
            total - errors
            for total, errors in zip(series.requests, series.errors, strict=True)
        ],
        "errors": series.errors,
    }


def _history(worker: Worker) -> Any:
    """Who decided what about it, the latest first."""
    kind = ContentType.objects.get_for_model(Worker)
    entries = LogEntry.objects.filter(content_type=kind, object_id=str(worker.pk))
    return entries.select_related("user")[:MAX_HISTORY]


@require_POST
@change_workers
def decision(request: HttpRequest, worker_id: UUID, name: str) -> JsonResponse:
    """Carry out what was confirmed; 404 for a worker that has left."""
    workers = Worker.objects.registered().filter(pk=worker_id)
    get_object_or_404(workers)
    assert request.user.pk is not None
    if name == "weigh":
        form = WeightForm(request.POST)
        if not form.is_valid():
            return JsonResponse({"error": form.errors["weight"][0]}, status=400)
        weigh(workers, request.user.pk, form.cleaned_data["weight"])
    elif name in DECISIONS:
        decide(name, workers, request.user.pk)
    else:
        return JsonResponse({"error": _("There is no such decision.")}, status=404)
    return JsonResponse({})


class WeightForm(forms.Form):
    weight = forms.FloatField(min_value=0.01, max_value=1000)


class AddForm(forms.Form):
    """What kind of worker the command is to start."""

    engine = forms.ChoiceField(label=gettext_lazy("Engine"), choices=ENGINES)
    model = forms.CharField(
        label=gettext_lazy("Model"),
        max_length=500,
        required=False,
        help_text=gettext_lazy("A folder on that machine, or a name on the hub."),
    )


@never_cache
@add_workers
def add_page(request: HttpRequest) -> HttpResponse:
    """Choose; then the one command, with a token that was made for it."""
    form = AddForm(request.POST or None)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Add a worker"),
        "form": form,
        "address": site_address(request),
    }
    if request.method == "POST" and form.is_valid():
        context |= _command(request, form.cleaned_data)
    return TemplateResponse(request, "controller/admin/worker_add.html", context)


def _command(request: HttpRequest, chosen: dict[str, str]) -> dict[str, Any]:
    """The command, which holds the token: shown now and never again."""
    token, secret = JoinToken.issue(
        created_by=request.user,
        note=_("Add a worker"),
        expires_at=now() + TOKEN_LASTS,
    )
    return {
        "command": join_command(
            site_address(request), chosen["engine"], secret, chosen["model"]
        ),
        "token": token,
        "arrival": arrival_of(token),
    }


@require_safe
@never_cache
@add_workers
def arrival(request: HttpRequest, token_id: int) -> JsonResponse:
    """How far the worker is that this token was made for."""
    found = arrival_of(get_object_or_404(JoinToken, pk=token_id))
    url = reverse("fleet_worker", args=[found.worker.pk]) if found.worker else ""
    return JsonResponse(
        {
            "state": found.state,
            "title": found.title,
            "advice": found.advice,
            "url": url,
        }
    )


_view = admin.site.admin_view
urlpatterns: list[URLPattern] = [
    path("", _view(fleet_page), name="fleet"),
    path("add/", _view(add_page), name="fleet_add"),
    path("arrivals/<int:token_id>/", _view(arrival), name="fleet_arrival"),
    path("<uuid:worker_id>/", _view(worker_page), name="fleet_worker"),
    path("<uuid:worker_id>/<slug:name>/", _view(decision), name="fleet_decision"),
]
