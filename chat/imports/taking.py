"""Read conversations become a user's own rows, each of them once."""

import hashlib
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import IO

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from chat import library, search
from chat.conversations import title_of
from chat.imports import own
from chat.imports.files import conversations_in
from chat.imports.shapes import LeftOut, ReadConversation, ReadMessage, Summary
from chat.models import Conversation, Folder, Message
from controller.models import User

MAX_CONVERSATIONS = 10_000
MAX_MESSAGES = 10_000  # of one conversation
MAX_LISTED = 50  # of those left out
LONGEST_MODEL = 200

UNKNOWN_SHAPE, EMPTY, TOO_LONG, TOO_MANY = "shape", "empty", "too_long", "too_many"


def import_file(user: User, file: IO[bytes]) -> Summary:
    """Take what the file holds of conversations that are not here yet.

    Each is its own transaction: what is read when the file turns out broken stays.
    Raises `ImportTooLarge` or `NothingToImport`.
    """
    summary = Summary()
    known = _known_keys(user)
    for each in conversations_in(file):
        if isinstance(each, str):
            _leave_out(summary, each, UNKNOWN_SHAPE)
        elif summary.num_taken >= MAX_CONVERSATIONS:
            _leave_out(summary, each.title, TOO_MANY)
        else:
            _take(user, each, known, summary)
    return summary


def _known_keys(user: User) -> set[str]:
    """What was imported before, and what is here by birth; deleted ones too, until
    they are purged."""
    rows = Conversation.objects.filter(user=user).values_list("pk", "imported_key")
    own_keys = {f"{own.SOURCE}:{key}" for key, _ in rows}
    return own_keys | {imported for _, imported in rows if imported}


def _take(
    user: User, read: ReadConversation, known: set[str], summary: Summary
) -> None:
    messages = read.kept()
    longest = max((len(each.content) for each in messages), default=0)
    key = _key_of(read, messages)
    if not messages:
        _leave_out(summary, read.title, EMPTY)
    elif len(messages) > MAX_MESSAGES or longest > settings.CHAT_MAX_ANSWER_CHARS:
        _leave_out(summary, read.title, TOO_LONG)
    elif key in known:
        summary.num_known += 1
    else:
        known.add(key)
        if _stored(user, read, messages, key):
            summary.num_taken += 1
            summary.num_messages += len(messages)
            summary.num_parts_left_out += read.num_left_out
        else:
            summary.num_known += 1


def _key_of(read: ReadConversation, messages: list[ReadMessage]) -> str:
    """Its name at its source; one without is known by what was said in it."""
    if not read.key.endswith(":"):
        return read.key
    said = msgspec.json.encode([[each.role, each.content] for each in messages])
    return f"{read.key}{hashlib.sha256(said).hexdigest()}"


def _stored(
    user: User, read: ReadConversation, messages: list[ReadMessage], key: str
) -> bool:
    """Write the rows; False if another import has just done it."""
    try:
        with transaction.atomic():
            _write(user, read, messages, key)
    except IntegrityError:
        return False
    return True


def _write(
    user: User, read: ReadConversation, messages: list[ReadMessage], key: str
) -> None:
    created_at = read.created_at or messages[0].created_at or now()
    model = read.model or next((each.model for each in messages if each.model), "")
    conversation = Conversation.objects.create(
        user=user,
        title=read.title[: library.LONGEST_TITLE] or title_of(messages[0].content),
        titled_by=Conversation.TitledBy.PERSON,  # its own, which no model changes
        model=model[:LONGEST_MODEL],
        folder=_folder(user, read.folder),
        imported_key=key,
        created_at=created_at,
        updated_at=min(read.updated_at or created_at, now()),
    )
    rows = _rows(conversation, messages)
    Message.objects.bulk_create(rows.values(), batch_size=search.BATCH)
    search.index(rows.values())
    leaf = rows.get(read.kept_leaf() or "") or list(rows.values())[-1]
    Conversation.objects.filter(pk=conversation.pk).update(leaf=leaf)


def _rows(
    conversation: Conversation, messages: Iterable[ReadMessage]
) -> dict[str, Message]:
    """By key. Each is later than its parent: messages are read in that order."""
    rows: dict[str, Message] = {}
    latest = conversation.created_at
    for each in messages:
        latest = max(each.created_at or latest, latest + timedelta(microseconds=1))
        rows[each.key] = Message(
            id=uuid.uuid4(),
            conversation=conversation,
            parent=rows.get(each.parent or ""),
            role=each.role,
            content=each.content,
            reasoning=each.reasoning[: settings.CHAT_MAX_ANSWER_CHARS],
            model=each.model[:LONGEST_MODEL] if each.role == "assistant" else "",
            finish_reason="stop" if each.role == "assistant" else "",
            created_at=latest,
            written_at=latest,
        )
    return rows


def _folder(user: User, name: str | None) -> Folder | None:
    if not name:
        return None
    name = library.checked_name(name, library.LONGEST_FOLDER_NAME)
    found = Folder.objects.filter(user=user, name=name).first()
    if found or Folder.objects.filter(user=user).count() >= library.MAX_FOLDERS:
        return found
    return Folder.objects.create(user=user, name=name)


def _leave_out(summary: Summary, title: str, why: str) -> None:
    if len(summary.left_out) < MAX_LISTED:
        summary.left_out.append(LeftOut(title[:80], why))
    summary.num_left_out += 1
