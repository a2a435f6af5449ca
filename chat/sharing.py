"""Conversations that anybody reads who has a link, without an account.

The link's secret is shown once and stored hashed. A snapshot shows what was said when
it was made; a live link shows the branch that its owner looks at, as it goes on.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils.timezone import now

from chat import library
from chat.errors import (
    ConversationNotFound,
    SharedLinkNotFound,
    SharingOff,
    TooManySharedLinks,
)
from chat.models import Conversation, Message, SharedLink
from controller.identity import secrets
from controller.models import User

PREFIX = "sy-share-"
MAX_LINKS = 500  # usable ones of a user
MAX_MESSAGES = 2_000  # shown, the latest
LONGEST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class SharedMessage:
    role: str
    content: str
    model: str


@dataclass(frozen=True, slots=True)
class SharedConversation:
    """What a reader sees."""

    title: str
    messages: list[SharedMessage]
    owner: str
    """The name of who shared it; "" unless they wanted it to be shown."""
    is_live: bool
    shared_at: datetime


def share(
    user: User,
    conversation_id: uuid.UUID,
    *,
    is_live: bool = False,
    shows_name: bool = False,
    days: int | None = None,
) -> tuple[SharedLink, str]:
    """(the link's row, its secret), good for so many days, or until it is revoked.

    Raises `SharingOff`, `ConversationNotFound` or `TooManySharedLinks`.
    """
    if not settings.CHAT_SHARING:
        raise SharingOff
    conversation = library.find(user, conversation_id)
    if links_of(user).usable().count() >= MAX_LINKS:
        raise TooManySharedLinks(MAX_LINKS)
    secret = secrets.make_secret(PREFIX)
    link = SharedLink.objects.create(
        conversation=conversation,
        token_digest=secrets.digest(secret),
        token_start=secrets.shown_part(secret).removeprefix(PREFIX),
        snapshot=None if is_live else _snapshot(conversation),
        shows_name=shows_name,
        expires_at=None if days is None else now() + timedelta(days=days),
    )
    return link, secret


def links_of(user: User) -> Any:
    """The links to a user's conversations, the latest first."""
    return SharedLink.objects.filter(
        conversation__user=user, conversation__deleted_at=None
    ).select_related("conversation")


def revoke(user: User, link_id: int) -> None:
    """Raises `SharedLinkNotFound`, also for another user's."""
    link = links_of(user).filter(pk=link_id).first()
    if link is None:
        raise SharedLinkNotFound
    link.revoke()


def read(secret: str) -> SharedConversation:
    """What the link with this secret shows. Raises `ConversationNotFound` for a secret
    that opens nothing, for whatever reason. Three queries at most."""
    is_possible = secrets.has_right_checksum(secret, PREFIX)
    if not settings.CHAT_SHARING or not is_possible:
        raise ConversationNotFound
    links = SharedLink.objects.usable().select_related("conversation__user")
    link = links.filter(token_digest=secrets.digest(secret)).first()
    if link is None or not link.conversation.user.is_active:
        raise ConversationNotFound
    user = link.conversation.user
    shown = link.snapshot or _snapshot(link.conversation)
    return SharedConversation(
        title=shown["title"],
        messages=[SharedMessage(**each) for each in shown["messages"]],
        owner=(user.get_full_name() or user.get_username()) if link.shows_name else "",
        is_live=link.is_live,
        shared_at=link.created_at,
    )


def _snapshot(conversation: Conversation) -> dict[str, Any]:
    """Title and path as they are stored now: without what a rule redacted, and
    without instructions to the model, which are nobody else's."""
    said = [
        {"role": each.role, "content": each.content, "model": each.model}
        for each in conversation.path()
        if each.content and each.role != Message.Role.SYSTEM
    ]
    return {"title": conversation.title, "messages": said[-MAX_MESSAGES:]}
