"""The pages on which people see their limits, ask for more, and owners of teams hold
their teams' keys."""

from dataclasses import dataclass
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from chat.key_pages import page
from chat.limit_forms import AskForm, TeamKeyForm
from controller.limits.requests import ask, withdraw
from controller.limits.standing import (
    Standing,
    limits_of,
    requests_at_once,
    standing,
    standings_of,
    with_current_spendings,
)
from controller.limits.teams import limit_key, owned_keys
from controller.models import ApiKey, Limit, LimitRequest, Membership, User

MAX_REQUESTS = 500  # looked through for the latest of each limit
MAX_TEAM_KEYS = 500  # listed


@dataclass(frozen=True, slots=True)
class Line:
    """A limit on the page, with what this person last asked of it."""

    standing: Standing
    request: LimitRequest | None


@dataclass(frozen=True, slots=True)
class TeamKey:
    key: ApiKey
    standings: list[Standing]


@page
def limits_page(request: HttpRequest) -> HttpResponse:
    """Every limit that holds for the user, and the keys of the teams they own."""
    user = _user(request)
    asked = _latest_requests(user)
    owned = Membership.objects.filter(user=user, role=Membership.Role.OWNER)
    context = {
        "lines": [Line(each, asked.get(each.limit.pk)) for each in standings_of(user)],
        "owned_teams": set(owned.values_list("team_id", flat=True)),
        "team_keys": _team_keys(user),
        "currency": settings.CURRENCY,
    }
    return render(request, "chat/limits.html", context)


@page
def ask_for_more(request: HttpRequest, limit_id: int) -> HttpResponse:
    """Asks how much and why; then the request waits in the console."""
    user = _user(request)
    limits = with_current_spendings(limits_of(user))
    limit = get_object_or_404(limits, pk=limit_id)
    form = AskForm(request.POST or None)
    if form.is_valid():
        try:
            ask(user, limit, **form.cleaned_data)
        except ValidationError as exc:
            form.add_error(None, exc)
        else:
            return _back(request, _("An operator will answer; you see it here."))
    context = {"line": standing(limit), "form": form, "currency": settings.CURRENCY}
    return render(request, "chat/limit_ask.html", context)


@page
@require_POST
def withdraw_request(request: HttpRequest, request_id: int) -> HttpResponse:
    """Takes back what nobody has answered."""
    mine = LimitRequest.objects.filter(user=_user(request))
    withdraw(get_object_or_404(mine, pk=request_id))
    return redirect("chat:limits")


@page
def limit_team_key(request: HttpRequest, key_id: int) -> HttpResponse:
    """Asks an owner of the key's team for a limit below the team's; then sets it."""
    key = get_object_or_404(_with_owners(owned_keys(_user(request))), pk=key_id)
    assert key.team is not None
    form = TeamKeyForm(key.team, request.POST or None)
    if form.is_valid():
        try:
            limit_key(key, **form.cleaned_data)
        except ValidationError as exc:
            form.add_error(None, exc)
        else:
            return _back(request, _("“%s” is held to that from now on.") % key.name)
    context = {"key": key, "form": form, "currency": settings.CURRENCY}
    return render(request, "chat/limit_key.html", context)


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)  # login_required


def _back(request: HttpRequest, words: str) -> HttpResponse:
    messages.success(request, words)
    return redirect("chat:limits")


def _latest_requests(user: User) -> dict[int | None, LimitRequest]:
    """By limit, this person's request that waits or was answered last. One query."""
    rows = LimitRequest.objects.filter(user=user, limit__isnull=False)
    latest: dict[int | None, LimitRequest] = {}
    for row in rows[:MAX_REQUESTS]:
        latest.setdefault(row.limit_id, row)
    return latest


def _team_keys(user: User) -> list[TeamKey]:
    """Keys of the user's own teams, with their limits. Three queries."""
    keys = list(_with_owners(owned_keys(user))[:MAX_TEAM_KEYS])
    standings: dict[int | None, list[Standing]] = {key.pk: [] for key in keys}
    for limit in with_current_spendings(Limit.objects.filter(key__in=keys)):
        standings[limit.key_id].append(standing(limit))
    for at_once in requests_at_once(keys):
        standings[at_once.limit.key_id].append(at_once)
    return [TeamKey(key, standings[key.pk]) for key in keys]


def _with_owners(keys: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    return keys.select_related("user", "team").order_by("team__name", "name", "pk")
