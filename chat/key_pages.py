"""The pages on which people look after their own API keys.

A secret is in the answer to the POST that made it and nowhere else: no message, session
or redirect ever holds it.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from chat import protocol
from chat.key_forms import KeyForm, RotationForm
from chat.views import View
from controller.gateway import gateway
from controller.identity.caller import chat_caller
from controller.identity.snippets import Snippet, snippets
from controller.models import ApiKey, User
from controller.site_address import site_address

MAX_ACTIVE = 500  # listed; nobody makes so many on this page
MAX_ENDED = 20  # listed, the latest


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key with its secret, for the one answer that shows it."""

    key: ApiKey
    secret: str
    snippets: list[Snippet]


def page(view: View) -> View:
    """A page for those who are signed in, which no cache keeps."""
    allowed = require_http_methods(["GET", "HEAD", "POST"])(view)
    return never_cache(login_required(allowed))


@page
def keys_page(request: HttpRequest) -> HttpResponse:
    """The user's keys, a form for another, and after that form the new secret."""
    user = _user(request)
    form = KeyForm(user, request.POST or None)
    if not form.is_valid():
        return _shown(request, form)
    key, secret = form.issue()
    return _shown(request, KeyForm(user), _issued(request, key, secret))


@page
def rotate_key(request: HttpRequest, key_id: int) -> HttpResponse:
    """Asks for the overlap; its answer shows the new secret."""
    key = get_object_or_404(_keys(request).active(), pk=key_id)
    form = RotationForm(request.POST or None)
    if not form.is_valid():
        return render(request, "chat/key_rotate.html", {"key": key, "form": form})
    secret = key.rotate(form.overlap_duration)
    issued = _issued(request, key, secret)
    return _shown(request, KeyForm(_user(request)), issued)


@page
def end_overlap(request: HttpRequest, key_id: int) -> HttpResponse:
    """Asks whether to; then the secret before the last rotation ends."""
    key = get_object_or_404(_keys(request).active(), pk=key_id)
    if request.method != "POST":
        return render(request, "chat/key_end_overlap.html", {"key": key})
    key.end_overlap()
    return _back(
        request, _("The old secret of “%s” is refused from now on.") % key.name
    )


@page
def revoke_key(request: HttpRequest, key_id: int) -> HttpResponse:
    """Asks whether to; then the key is refused everywhere."""
    key = get_object_or_404(_keys(request), pk=key_id)
    if request.method != "POST":
        return render(request, "chat/key_revoke.html", {"key": key})
    if key.revoked_at is None:  # a second click keeps the first moment
        key.revoke()
    return _back(request, _("“%s” is revoked and refused from now on.") % key.name)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # login_required
    return request.user


def _keys(request: HttpRequest) -> Any:
    """The user's own keys: another's id is found nowhere."""
    return ApiKey.objects.filter(user=_user(request))


def _back(request: HttpRequest, words: str) -> HttpResponseRedirect:
    messages.success(request, words)
    return redirect("chat:keys")


def _issued(request: HttpRequest, key: ApiKey, secret: str) -> IssuedKey:
    models = protocol.model_fields(gateway().models(chat_caller(key.user_id)))
    names = [*(key.allowed_models or ()), *(model["name"] for model in models)]
    calls = snippets(
        _base(request),
        secret,
        names[0] if names else None,
        is_publishable=key.is_publishable,
    )
    return IssuedKey(key, secret, calls)


def _base(request: HttpRequest) -> str:
    return f"{site_address(request)}/v1"


def _shown(
    request: HttpRequest, form: KeyForm, issued: IssuedKey | None = None
) -> HttpResponse:
    keys = _keys(request).select_related("team")
    active = keys.active()[:MAX_ACTIVE]
    context = {
        "form": form,
        "issued": issued,
        "active": active,
        "ended": keys.ended()[:MAX_ENDED],
        "base": _base(request),
    }
    return render(request, "chat/keys.html", context)
