"""The pages on which people look after all of their conversations: lists with actions
on several at once, links, and files in and out."""

import uuid
from datetime import timedelta
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from chat import exports, library, sharing
from chat.errors import ConversationNotFound, SharedLinkNotFound
from chat.imports.taking import import_file
from chat.key_pages import page
from chat.library import Position
from chat.models import Conversation
from chat.models.conversations import ConversationQuerySet
from controller.errors import SwitchyardError
from controller.models import User

MAX_LINKS = 500  # listed
TYPES = {"md": "text/markdown; charset=utf-8", "json": "application/json"}


# -- lists ----------------------------------------------------------------------------


@page
def library_page(request: HttpRequest, show: str = "all") -> HttpResponse:
    """A page of one list, with actions for those that are ticked."""
    if request.method == "POST":
        return _act(request, show)
    listed = _lists(_user(request), show)
    if show == "deleted":  # bounded by the purge, and in another order
        found = library.Listed(list(listed[: library.MAX_AT_ONCE]), None)
    else:
        found = library.page_of(listed, _position(request))
    context = {
        "show": show,
        "conversations": found.conversations,
        "next": found.next,
        "undo_hours": max(1, round(settings.CHAT_KEEP_DELETED / timedelta(hours=1))),
    }
    return render(request, "chat/library.html", context)


def _lists(user: User, show: str) -> ConversationQuerySet:
    if show == "archived":
        return library.archived(user)
    if show == "deleted":
        return library.deleted(user)
    return Conversation.objects.of(user).kept().filter(archived_at=None)


def _position(request: HttpRequest) -> Position | None:
    try:
        return Position.parsed(request.GET.get("after", ""))
    except ValueError:
        return None


def _act(request: HttpRequest, show: str) -> HttpResponseRedirect:
    user, ids = _user(request), _ticked(request)
    match request.POST.get("do"):
        case "archive":
            number = library.archive(user, ids, is_archived=True)
            words = ngettext("%d archived.", "%d archived.", number)
        case "unarchive":
            number = library.archive(user, ids, is_archived=False)
            words = ngettext("%d is listed again.", "%d are listed again.", number)
        case "delete":
            number = library.delete(user, ids)
            words = ngettext("%d deleted.", "%d deleted.", number)
        case "restore":
            number = library.restore(user, ids)
            words = ngettext("%d brought back.", "%d brought back.", number)
        case _:
            number, words = 0, ""
    if number:
        messages.success(request, words % number)
    return redirect("chat:library", show) if show != "all" else redirect("chat:library")


def _ticked(request: HttpRequest) -> list[uuid.UUID]:
    field = forms.TypedMultipleChoiceField(coerce=uuid.UUID, required=False)
    field.valid_value = lambda value: True  # type: ignore[method-assign]
    try:
        return cast("list[uuid.UUID]", field.clean(request.POST.getlist("ids")))
    except forms.ValidationError:
        return []


# -- links ----------------------------------------------------------------------------


@page
def links_page(request: HttpRequest) -> HttpResponse:
    """The user's links, open and closed, to revoke them."""
    user = _user(request)
    if request.method == "POST":
        try:
            sharing.revoke(user, int(request.POST.get("link", "")))
            messages.success(request, _("The link opens nothing from now on."))
        except (ValueError, SharedLinkNotFound):
            messages.error(request, _("There is no such link."))
        return redirect("chat:links")
    context = {
        "show": "links",
        "links": sharing.links_of(user)[:MAX_LINKS],
        "is_sharing_on": settings.CHAT_SHARING,
    }
    return render(request, "chat/library_links.html", context)


# -- files ----------------------------------------------------------------------------


class ImportForm(forms.Form):
    file = forms.FileField()

    def clean_file(self) -> Any:
        """Bounded before it is read; what is inside a zip is bounded again."""
        file = self.cleaned_data["file"]
        if file.size > settings.CHAT_IMPORT_MAX_BYTES:
            maximum = settings.CHAT_IMPORT_MAX_BYTES // 2**20
            raise forms.ValidationError(
                _("The file has more than %d MiB. Split it.") % maximum
            )
        return file


@page
def transfer_page(request: HttpRequest) -> HttpResponse:
    """Files out; and a file in, after which it says what was taken and what not."""
    form = ImportForm(request.POST or None, request.FILES or None)
    context: dict[str, Any] = {"show": "transfer", "form": form}
    if request.method == "POST" and form.is_valid():
        try:
            context["summary"] = import_file(
                _user(request), form.cleaned_data["file"].file
            )
        except SwitchyardError as exc:
            form.add_error("file", _refusal(exc))
    return render(request, "chat/library_transfer.html", context)


def _refusal(exc: SwitchyardError) -> str:
    if exc.code == "import_too_large":
        maximum = settings.CHAT_IMPORT_MAX_BYTES // 2**20
        return _("The file has more than %d MiB. Split it.") % maximum
    words = _(
        "The file cannot be read. Choose an export of %(site)s, ChatGPT or Open"
        " WebUI: JSON, or ChatGPT’s zip."
    )
    return words % {"site": settings.SITE_NAME}


@page
@require_safe
def export_all(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    """All of the user's conversations, but for temporary ones, in one file."""
    user = _user(request)
    blocks = (
        exports.all_as_json(user)
        if kind == "json"
        else exports.all_as_markdown(user, _("You"))
    )
    response = StreamingHttpResponse(blocks, content_type=TYPES[kind])
    return cast("StreamingHttpResponse", _download(response, f"conversations.{kind}"))


@page
@require_safe
def export_one(
    request: HttpRequest, conversation_id: uuid.UUID, kind: str
) -> HttpResponseBase:
    user = _user(request)
    try:
        conversation = exports.read_whole(user, conversation_id)
    except ConversationNotFound as exc:
        raise Http404(exc.message) from exc
    content = (
        exports.json_file([conversation])
        if kind == "json"
        else exports.markdown_file(conversation, _("You"))
    )
    response = HttpResponse(content, content_type=TYPES[kind])
    return _download(response, exports.file_name(conversation, kind))


def _download(response: HttpResponseBase, name: str) -> HttpResponseBase:
    header = content_disposition_header(as_attachment=True, filename=name)
    assert header is not None
    response["Content-Disposition"] = header
    return response


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)  # login_required
