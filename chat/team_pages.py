"""The pages of teams: who is in them, and, for owners, who is to be."""

from typing import Any, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from chat.key_pages import page
from controller.accounts import teams
from controller.models import Membership, Team, User

MAX_MEMBERS = 500  # listed
ROLES = [
    (Membership.Role.MEMBER.value, gettext_lazy("member")),
    (Membership.Role.OWNER.value, gettext_lazy("owner")),
]


class MemberForm(forms.Form):
    """Whom an owner adds."""

    name = forms.CharField(
        label=gettext_lazy("Username or e-mail address"),
        max_length=254,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
    )
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=ROLES)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=ROLES)


@page
def teams_page(request: HttpRequest) -> HttpResponse:
    """The reader's teams."""
    user = _user(request)
    context: dict[str, Any] = {
        "teams": teams.teams_of(user),
        "owned": set(teams.owned_teams(user).values_list("pk", flat=True)),
    }
    return render(request, "chat/teams.html", context)


@page
def team_page(request: HttpRequest, team_id: int) -> HttpResponse:
    """The people of a team that the reader is in; owners add others."""
    team = get_object_or_404(teams.teams_of(_user(request)), pk=team_id)
    is_owner = teams.owned_teams(_user(request)).filter(pk=team.pk).exists()
    form = MemberForm(request.POST if is_owner and request.method == "POST" else None)
    if form.is_valid():
        try:
            teams.add_member(team, **_named(form.cleaned_data))
        except ValidationError as exc:
            form.add_error("name", exc)
        else:
            return _back(request, team, _("The team has a new member."))
    members = team.memberships.select_related("user").order_by(
        "-role", "user__username"
    )
    context = {
        "team": team,
        "members": members.order_by("-role", "user__username")[:MAX_MEMBERS],
        "is_owner": is_owner,
        "form": form,
        "roles": ROLES,
    }
    return render(request, "chat/team.html", context)


@page
@require_POST
def change_role(request: HttpRequest, member_id: int) -> HttpResponse:
    """Makes a member an owner, or an owner a member."""
    membership = _owned(request, member_id)
    form = RoleForm(request.POST)
    if form.is_valid():
        try:
            teams.change_role(membership, form.cleaned_data["role"])
        except ValidationError as exc:
            return _back(request, membership.team, exc.messages[0], messages.ERROR)
    return _back(request, membership.team, _("The role is changed."))


@page
def remove_member(request: HttpRequest, member_id: int) -> HttpResponse:
    """Asks whether to; then the member is out, and their keys of the team revoked."""
    membership = _owned(request, member_id)
    if request.method != "POST":
        keys = teams.keys_of(membership)
        context = {"membership": membership, "num_keys": len(keys)}
        return render(request, "chat/team_remove.html", context)
    try:
        num_revoked = teams.remove_member(membership)
    except ValidationError as exc:
        return _back(request, membership.team, exc.messages[0], messages.ERROR)
    words = ngettext(
        "Removed; %d key is revoked.", "Removed; %d keys are revoked.", num_revoked
    )
    if membership.user_id == request.user.pk:  # nothing more to see there
        return redirect("chat:teams")
    return _back(request, membership.team, words % num_revoked)


def _owned(request: HttpRequest, member_id: int) -> Membership:
    """A membership in a team that the reader owns: another's is found nowhere."""
    owned = teams.owned_teams(_user(request))
    memberships = Membership.objects.filter(team__in=owned)
    return get_object_or_404(memberships.select_related("team", "user"), pk=member_id)


def _named(cleaned: dict[str, Any]) -> dict[str, Any]:
    return {"name_or_address": cleaned["name"], "role": cleaned["role"]}


def _back(
    request: HttpRequest, team: Team, words: str, level: int = messages.SUCCESS
) -> HttpResponse:
    messages.add_message(request, level, words)
    return redirect("chat:team", team.pk)


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)  # login_required
