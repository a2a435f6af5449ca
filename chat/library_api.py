"""What the sidebar asks for over HTTP, as JSON: lists, search, and changes.

A page sends JSON with its CSRF token; errors come back as `{"error": {code, message}}`.
"""

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

import msgspec
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from chat import library, search
from chat.errors import ConversationNotFound, SignedOut, UnreadableMessage
from chat.models import Conversation, Folder
from controller.errors import SwitchyardError
from controller.models import User

T = TypeVar("T")
Answer = dict[str, Any]
Endpoint = Callable[..., Answer]
LONGEST_BODY = 64 * 1024


def endpoint(*methods: str) -> Callable[[Endpoint], Callable[..., HttpResponse]]:
    """Make a view of a function of (user, request, ...) that returns what to send."""

    def decorate(answer: Endpoint) -> Callable[..., HttpResponse]:
        @never_cache
        @require_http_methods(list(methods))
        @wraps(answer)
        def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            try:
                return JsonResponse(answer(_user(request), request, **kwargs))
            except SwitchyardError as exc:
                error = {"code": exc.code, "message": exc.message}
                return JsonResponse({"error": error}, status=exc.status)

        return view

    return decorate


def _user(request: HttpRequest) -> User:
    """Raises `SignedOut`: a script is not sent to the sign-in page."""
    if not isinstance(request.user, User):
        raise SignedOut
    return request.user


def body_of(request: HttpRequest, kind: type[T]) -> T:
    """The JSON body as this struct. Raises `UnreadableMessage`."""
    if len(request.body) > LONGEST_BODY:
        raise UnreadableMessage(f"At most {LONGEST_BODY:,} bytes can be sent here.")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.MsgspecError as exc:
        raise UnreadableMessage(f"The body is not understood: {exc}.") from exc


# -- lists and search -----------------------------------------------------------------


def listed_fields(conversation: Conversation) -> Answer:
    """A conversation as the sidebar knows it."""
    return {
        "id": str(conversation.id),
        "title": conversation.title,
        "updated_at": conversation.updated_at.isoformat(),
        "folder": conversation.folder_id,
        "is_pinned": conversation.pinned_at is not None,
        "is_archived": conversation.archived_at is not None,
    }


def folder_fields(folder: Folder) -> Answer:
    return {"id": folder.pk, "name": folder.name}


@endpoint("GET")
def conversations(user: User, request: HttpRequest) -> Answer:
    """A page of the list by day, of a folder (`?folder=`) or of the archive."""
    if folder := request.GET.get("folder"):
        listed = library.in_folder(user, number_of(folder, "folder"))
    else:
        listed = library.recent(user)
    page = library.page_of(listed, _position_of(request.GET.get("after")))
    return {
        "conversations": [listed_fields(each) for each in page.conversations],
        "next": str(page.next) if page.next else None,
    }


@endpoint("GET")
def found(user: User, request: HttpRequest) -> Answer:
    """A page of what `?q=` finds, latest first."""
    before = request.GET.get("before")
    number = number_of(before, "before") if before else None
    hits = search.search(user, request.GET.get("q", ""), number)
    return {"hits": [_hit_fields(each) for each in hits.hits], "before": hits.before}


def _hit_fields(hit: search.Hit) -> Answer:
    return {
        "conversation": listed_fields(hit.conversation),
        "role": hit.role,
        "message": None if hit.message_id is None else str(hit.message_id),
        "said_at": hit.said_at.isoformat(),
        "snippet": [[part.text, part.is_match] for part in hit.snippet],
    }


def _position_of(text: str | None) -> library.Position | None:
    if not text:
        return None
    try:
        return library.Position.parsed(text)
    except ValueError as exc:
        raise UnreadableMessage(f"after={text!r} is no position of a list.") from exc


def number_of(text: str, name: str) -> int:
    """Raises `UnreadableMessage` for what no row's number can be."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UnreadableMessage(f"{name}={text[:40]!r} is no number.")
    return int(text)


# -- changes --------------------------------------------------------------------------

Ids = Annotated[list[uuid.UUID], msgspec.Meta(max_length=library.MAX_AT_ONCE)]


class Rename(msgspec.Struct, tag="rename", tag_field="do"):
    conversation: uuid.UUID
    title: str


class Pin(msgspec.Struct, tag="pin", tag_field="do"):
    conversations: Ids
    is_pinned: bool


class Archive(msgspec.Struct, tag="archive", tag_field="do"):
    conversations: Ids
    is_archived: bool


class Move(msgspec.Struct, tag="move", tag_field="do"):
    """Into a folder, or with null out of any."""

    conversations: Ids
    folder: int | None


class Delete(msgspec.Struct, tag="delete", tag_field="do"):
    conversations: Ids


class Restore(msgspec.Struct, tag="restore", tag_field="do"):
    conversations: Ids


class NewFolder(msgspec.Struct, tag="new_folder", tag_field="do"):
    name: str


class RenameFolder(msgspec.Struct, tag="rename_folder", tag_field="do"):
    folder: int
    name: str


class DeleteFolder(msgspec.Struct, tag="delete_folder", tag_field="do"):
    folder: int


class EndTemporary(msgspec.Struct, tag="end_temporary", tag_field="do"):
    conversation: uuid.UUID


Change = (
    Rename
    | Pin
    | Archive
    | Move
    | Delete
    | Restore
    | NewFolder
    | RenameFolder
    | DeleteFolder
    | EndTemporary
)


@endpoint("POST")
def change(user: User, request: HttpRequest) -> Answer:
    """Do one of the changes above. What is another user's is 404 where one thing is
    named; of several, only one's own are counted and changed."""
    return _changed(user, body_of(request, Change))  # type: ignore[arg-type]


def _changed(user: User, wish: Change) -> Answer:
    match wish:
        case Rename(conversation_id, title):
            return listed_fields(library.rename(user, conversation_id, title))
        case Pin(ids, is_pinned):
            return _counted(library.pin(user, ids, is_pinned=is_pinned))
        case Archive(ids, is_archived):
            return _counted(library.archive(user, ids, is_archived=is_archived))
        case Move(ids, folder_id):
            return _counted(library.move(user, ids, folder_id))
        case Delete(ids):
            return _counted(library.delete(user, ids))
        case Restore(ids):
            return _counted(library.restore(user, ids))
        case NewFolder(name):
            return folder_fields(library.make_folder(user, name))
        case RenameFolder(folder_id, name):
            return folder_fields(library.rename_folder(user, folder_id, name))
        case DeleteFolder(folder_id):
            library.delete_folder(user, folder_id)
        case EndTemporary(conversation_id):
            library.end_temporary(user, conversation_id)
    return {}


def _counted(num_changed: int) -> Answer:
    """Raises `ConversationNotFound` when none of those named is the user's."""
    if not num_changed:
        raise ConversationNotFound
    return {"changed": num_changed}
