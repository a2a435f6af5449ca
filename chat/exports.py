"""Conversations as files: JSON, which can be imported again, and Markdown to read.

Both hold the stored texts, which are what their owner saw: what a rule redacted in an
answer was never stored. JSON holds all branches, Markdown the one that is looked at.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
from channels.db import database_sync_to_async
from django.db.models import Prefetch, Q
from django.utils.text import slugify
from django.utils.timezone import now

from chat.errors import ConversationNotFound
from chat.models import Conversation, Message
from chat.models.conversations import ConversationQuerySet
from chat.trees import MessageTree
from controller.models import User

FORMAT, VERSION = "switchyard.conversations", 1
BATCH = 20  # conversations read at once
LONGEST_FILE_NAME = 60


def json_fields(conversation: Conversation) -> dict[str, Any]:
    """The conversation with all of its messages, a parent before its replies."""
    return {
        "id": str(conversation.id),
        "title": conversation.title,
        "model": conversation.model,
        "created_at": conversation.created_at.isoformat(),
        "updated_at": conversation.updated_at.isoformat(),
        "folder": conversation.folder.name if conversation.folder else None,
        "leaf": _text_or_none(conversation.leaf_id),
        "messages": [_message_fields(each) for each in conversation.messages.all()],
    }


def _message_fields(message: Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "parent": _text_or_none(message.parent_id),
        "role": message.role,
        "content": message.content,
        "reasoning": message.reasoning,
        "model": message.model,
        "state": message.state,
        "created_at": message.created_at.isoformat(),
    }


def _text_or_none(key: object) -> str | None:
    return None if key is None else str(key)


def json_file(conversations: Iterable[Conversation]) -> bytes:
    """A whole file of these conversations."""
    listed = b",\n".join(map(_encoded, conversations))
    return _json_head() + listed + b"\n]}\n"


def _json_head() -> bytes:
    head = {"format": FORMAT, "version": VERSION, "exported_at": now().isoformat()}
    return msgspec.json.encode(head)[:-1] + b',"conversations":[\n'


def _encoded(conversation: Conversation) -> bytes:
    return msgspec.json.encode(json_fields(conversation))


def markdown_file(conversation: Conversation, you: str) -> bytes:
    """The path to the leaf as a document; `you` is what its owner is called in it.

    No query, if the conversation was read `with_messages`.
    """
    parts = [f"# {conversation.title}", f"*{_shown(conversation.created_at)}*"]
    by_id = {each.id: each for each in conversation.messages.all()}
    links = [(each.id, each.parent_id) for each in by_id.values()]
    for key in MessageTree(links).path_to(conversation.leaf_id):
        message = by_id[key]
        if message.content:
            speaker = you if message.role == Message.Role.USER else message.model
            parts += [f"## {speaker or message.role}", message.content]
    return "\n\n".join(parts).encode() + b"\n"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def file_name(conversation: Conversation, kind: str) -> str:
    slug = slugify(conversation.title, allow_unicode=True)[:LONGEST_FILE_NAME]
    return f"{slug.strip('-') or conversation.id}.{kind}"


# -- all of a user's ------------------------------------------------------------------


async def all_as_json(user: User) -> AsyncIterator[bytes]:
    """One file, as it is read, the oldest conversation first."""
    yield _json_head()
    separator = b""
    async for batch in _batches(user, _encoded):
        for block in batch:
            yield separator + block
            separator = b",\n"
    yield b"\n]}\n"


async def all_as_markdown(user: User, you: str) -> AsyncIterator[bytes]:
    separator = b""
    async for batch in _batches(user, lambda each: markdown_file(each, you)):
        for block in batch:
            yield separator + block
            separator = b"\n---\n\n"


async def _batches(
    user: User, made: Callable[[Conversation], bytes]
) -> AsyncIterator[list[bytes]]:
    """A few short queries for each: nothing stays open while a slow client reads."""
    read = database_sync_to_async(_made_after)
    last: Conversation | None = None
    while True:
        conversations, blocks = await read(user, last, made)
        yield blocks
        if len(conversations) < BATCH:
            return
        last = conversations[-1]


def _made_after(
    user: User, last: Conversation | None, made: Callable[[Conversation], bytes]
) -> tuple[list[Conversation], list[bytes]]:
    listed = with_messages(Conversation.objects.of(user).kept())
    if last is not None:
        is_later = Q(created_at__gt=last.created_at)
        is_later |= Q(created_at=last.created_at, pk__gt=last.pk)
        listed = listed.filter(is_later)
    conversations = list(listed.order_by("created_at", "pk")[:BATCH])
    return conversations, [made(each) for each in conversations]


def read_whole(user: User, conversation_id: uuid.UUID) -> Conversation:
    """The user's conversation `with_messages`. Raises `ConversationNotFound`."""
    found = with_messages(Conversation.objects.of(user).kept())
    conversation = found.filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationNotFound
    return conversation


def with_messages(conversations: ConversationQuerySet) -> ConversationQuerySet:
    """With what a file of them needs: two queries. Deleted messages are not in it."""
    messages = Prefetch("messages", Message.objects.kept())
    return conversations.select_related("folder").prefetch_related(messages)
