"""What a user does with their conversations: list, name, sort away, delete, undo."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from chat.errors import (
    BlankName,
    ConversationNotFound,
    FolderExists,
    FolderNotFound,
    TooManyFolders,
)
from chat.models import Conversation, Folder, Message
from chat.models.conversations import ConversationQuerySet
from controller.models import User

PAGE = 60
MAX_PINNED = 100  # listed at once
MAX_FOLDERS = 200
MAX_AT_ONCE = 500  # conversations in one bulk action
LONGEST_TITLE = 200
LONGEST_FOLDER_NAME = 80


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of the list begins: behind the conversation of these values."""

    updated_at: datetime
    id: uuid.UUID

    def __str__(self) -> str:
        return f"{self.updated_at.isoformat()}_{self.id}"

    @classmethod
    def parsed(cls, text: str) -> "Position":
        """The position that `str` wrote. Raises ValueError."""
        moment, _, key = text.rpartition("_")
        return cls(datetime.fromisoformat(moment), uuid.UUID(key))


@dataclass(frozen=True, slots=True)
class Listed:
    conversations: list[Conversation]
    next: Position | None
    """Where the next page begins; None on the last one."""


# -- lists ----------------------------------------------------------------------------


def recent(user: User) -> ConversationQuerySet:
    """What the sidebar lists by day: neither pinned, nor in a folder, nor archived."""
    listed = _listed(user)
    return listed.filter(pinned_at=None, folder=None, archived_at=None)


def pinned(user: User) -> ConversationQuerySet:
    """The pinned ones, the latest pin first."""
    listed = _listed(user).filter(pinned_at__isnull=False, archived_at=None)
    return listed.order_by("-pinned_at")


def in_folder(user: User, folder_id: int) -> ConversationQuerySet:
    """Raises `FolderNotFound`."""
    folder = find_folder(user, folder_id)
    return _listed(user).filter(folder=folder, pinned_at=None, archived_at=None)


def archived(user: User) -> ConversationQuerySet:
    return _listed(user).filter(archived_at__isnull=False)


def deleted(user: User) -> ConversationQuerySet:
    """What can be brought back, the latest deletion first."""
    return Conversation.objects.deleted_by(user).kept().order_by("-deleted_at")


def page_of(listed: ConversationQuerySet, after: Position | None = None) -> Listed:
    """A page of a list, latest first, from behind `after` on. One query."""
    if after is not None:
        older = Q(updated_at__lt=after.updated_at)
        listed = listed.filter(older | Q(updated_at=after.updated_at, id__lt=after.id))
    rows = list(listed.order_by("-updated_at", "-id")[: PAGE + 1])
    if len(rows) <= PAGE:
        return Listed(rows, None)
    last = rows[PAGE - 1]
    return Listed(rows[:PAGE], Position(last.updated_at, last.id))


def _listed(user: User) -> ConversationQuerySet:
    return Conversation.objects.of(user).kept()


# -- one or some ----------------------------------------------------------------------


def find(user: User, conversation_id: uuid.UUID) -> Conversation:
    """Raises `ConversationNotFound`, also for a temporary one: it is not kept."""
    conversation = _listed(user).filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationNotFound
    return conversation


def rename(user: User, conversation_id: uuid.UUID, title: str) -> Conversation:
    """Give it this title, which no model changes any more. Raises `BlankName`."""
    conversation = find(user, conversation_id)
    conversation.title = checked_name(title, LONGEST_TITLE)
    conversation.titled_by = Conversation.TitledBy.PERSON
    conversation.save(update_fields=["title", "titled_by"])
    return conversation


def pin(user: User, ids: Iterable[uuid.UUID], *, is_pinned: bool) -> int:
    return _some(user, ids).update(pinned_at=now() if is_pinned else None)


def archive(user: User, ids: Iterable[uuid.UUID], *, is_archived: bool) -> int:
    return _some(user, ids).update(archived_at=now() if is_archived else None)


def move(user: User, ids: Iterable[uuid.UUID], folder_id: int | None) -> int:
    """Into this folder, or out of any. Raises `FolderNotFound`."""
    folder = None if folder_id is None else find_folder(user, folder_id)
    return _some(user, ids).update(folder=folder)


@transaction.atomic
def delete(user: User, ids: Iterable[uuid.UUID]) -> int:
    """Out of sight everywhere at once, links too; their answers in progress stop."""
    found = list(_some(user, ids).values_list("pk", flat=True))
    writing = Message.objects.filter(conversation__in=found).streaming()
    writing.update(stop_requested_at=now())
    return Conversation.objects.filter(pk__in=found).update(deleted_at=now())


def restore(user: User, ids: Iterable[uuid.UUID]) -> int:
    """Bring back what was deleted and not yet purged."""
    found = Conversation.objects.deleted_by(user).filter(pk__in=list(ids))
    return found.update(deleted_at=None)


def end_temporary(user: User, conversation_id: uuid.UUID) -> None:
    """Leave no row of a temporary conversation. Raises `ConversationNotFound`."""
    temporary = Conversation.objects.filter(user=user, is_temporary=True)
    if not temporary.filter(pk=conversation_id).delete()[0]:
        raise ConversationNotFound


def _some(user: User, ids: Iterable[uuid.UUID]) -> ConversationQuerySet:
    return _listed(user).filter(pk__in=list(ids)[:MAX_AT_ONCE])


# -- folders --------------------------------------------------------------------------


def find_folder(user: User, folder_id: int) -> Folder:
    folder = Folder.objects.filter(user=user, pk=folder_id).first()
    if folder is None:
        raise FolderNotFound
    return folder


def make_folder(user: User, name: str) -> Folder:
    """Raises `BlankName`, `FolderExists` or `TooManyFolders`."""
    name = checked_name(name, LONGEST_FOLDER_NAME)
    if Folder.objects.filter(user=user).count() >= MAX_FOLDERS:
        raise TooManyFolders(MAX_FOLDERS)
    folder, is_new = Folder.objects.get_or_create(user=user, name=name)
    if not is_new:
        raise FolderExists(name)
    return folder


def rename_folder(user: User, folder_id: int, name: str) -> Folder:
    folder = find_folder(user, folder_id)
    folder.name = checked_name(name, LONGEST_FOLDER_NAME)
    others = Folder.objects.filter(user=user, name=folder.name).exclude(pk=folder.pk)
    if others.exists():
        raise FolderExists(folder.name)
    folder.save(update_fields=["name"])
    return folder


def delete_folder(user: User, folder_id: int) -> None:
    """The folder goes; what was in it is listed by day again."""
    find_folder(user, folder_id).delete()


def checked_name(text: str, longest: int) -> str:
    """On one line and not too long. Raises `BlankName`."""
    name = " ".join(text.replace("\x00", "").split())[:longest].strip()
    if not name:
        raise BlankName
    return name
