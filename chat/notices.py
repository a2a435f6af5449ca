"""Rare words between sockets, in this process or another, by the channel layer.

Never the text of an answer: that goes straight from a generation to its sockets.
"""

import hashlib
import logging
import uuid
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


def conversation_group(conversation_id: uuid.UUID) -> str:
    return f"chat.conversation.{conversation_id.hex}"


def session_group(session_key: str) -> str:
    """Hashed: a session's key must not be readable among Redis' channels."""
    return f"chat.session.{hashlib.sha256(session_key.encode()).hexdigest()[:32]}"


async def notify(group: str, message: dict[str, Any]) -> None:
    """Send to a group; without Redis the pages learn it later, by themselves."""
    layer = get_channel_layer()
    assert layer is not None  # settings always name one
    try:
        await layer.group_send(group, message)
    except (OSError, RedisError) as exc:
        logger.warning("a notice was not sent: %s", exc)


async def conversation_changed(conversation_id: uuid.UUID, by: str) -> None:
    """Tell the sockets attached to it, but for the one on channel `by`."""
    notice = {
        "type": "conversation.changed",
        "conversation": str(conversation_id),
        "by": by,
    }
    await notify(conversation_group(conversation_id), notice)


async def conversation_titled(conversation_id: uuid.UUID, title: str) -> None:
    """Tell the sockets attached to it what it is called now."""
    notice = {
        "type": "conversation.titled",
        "conversation": str(conversation_id),
        "title": title,
    }
    await notify(conversation_group(conversation_id), notice)


def end_session(session_key: str) -> None:
    """Close the sockets of a session that signs out."""
    async_to_sync(notify)(session_group(session_key), {"type": "session.ended"})
