"""The pages on which people look after their presets and saved prompts.

What is a team's is managed by its owners; what is the site's, in the console.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from chat.composing.models import Preset, SavedPrompt
from chat.composing.shelf_forms import PresetForm, SavedPromptForm, ShelfForm
from controller.models import User


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the two kinds of things on shelves, and how its pages speak of it."""

    slug: str
    model: Any
    form: type[ShelfForm]
    title: Promise
    lead: Promise
    add: Promise
    empty: Promise


KINDS = {
    "prompts": Kind(
        "prompts",
        SavedPrompt,
        SavedPromptForm,
        gettext_lazy("Saved prompts"),
        gettext_lazy("In the chat, type /prompt and a part of its name."),
        gettext_lazy("Save a prompt"),
        gettext_lazy("There is no saved prompt yet."),
    ),
    "presets": Kind(
        "presets",
        Preset,
        PresetForm,
        gettext_lazy("Presets"),
        gettext_lazy("Instructions and parameters to set a conversation up with."),
        gettext_lazy("Make a preset"),
        gettext_lazy("There is no preset yet."),
    ),
}


def page(view: Callable[..., HttpResponse]) -> Callable[..., Any]:
    """A page about one kind, for those who are signed in, which no cache keeps."""

    @wraps(view)
    def of_kind(request: HttpRequest, shelf: str, **kwargs: Any) -> HttpResponse:
        if shelf not in KINDS:
            raise Http404
        return view(request, KINDS[shelf], **kwargs)

    allowed = require_http_methods(["GET", "HEAD", "POST"])
    return never_cache(login_required(allowed(of_kind)))


@page
def shelf_page(request: HttpRequest, kind: Kind) -> HttpResponse:
    """All that the user may use, with links to change what they manage."""
    user = _user(request)
    rows = kind.model.objects.usable_by(user).select_related("team")
    managed = set(kind.model.objects.managed_by(user).values_list("pk", flat=True))
    context = {"kind": kind, "kinds": KINDS.values(), "rows": rows, "managed": managed}
    return render(request, "chat/shelf.html", context)


@page
def add_page(request: HttpRequest, kind: Kind) -> HttpResponse:
    return _form_page(request, kind, kind.model())


@page
def edit_page(request: HttpRequest, kind: Kind, row_id: int) -> HttpResponse:
    return _form_page(request, kind, _managed(request, kind, row_id))


@page
def delete_page(request: HttpRequest, kind: Kind, row_id: int) -> HttpResponse:
    """Asks whether to; then it is gone for all who used it."""
    row = _managed(request, kind, row_id)
    if request.method != "POST":
        return render(request, "chat/shelf_delete.html", {"kind": kind, "row": row})
    row.delete()
    messages.success(request, _("“%s” is deleted.") % row.name)
    return redirect("chat:shelf", kind.slug)


def _form_page(request: HttpRequest, kind: Kind, row: Any) -> HttpResponse:
    is_new = row.pk is None
    form = kind.form(_user(request), row, request.POST or None)
    if not form.is_valid():
        context = {"kind": kind, "form": form, "is_new": is_new}
        return render(request, "chat/shelf_form.html", context)
    messages.success(request, _("“%s” is saved.") % form.save().name)
    return redirect("chat:shelf", kind.slug)


def _managed(request: HttpRequest, kind: Kind, row_id: int) -> Any:
    """A row that this user manages: of others' ids nothing is known here."""
    return get_object_or_404(kind.model.objects.managed_by(_user(request)), pk=row_id)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # login_required
    return request.user
