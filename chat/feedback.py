"""What readers think of answers: rated up or down, or shown to the moderators."""

import uuid

from django.db import transaction
from django.utils.timezone import now

from chat.conversations import locked_message
from chat.errors import RemarkTooLong
from chat.models import Message
from controller.models import User
from controller.moderation.reports import report

MAX_REMARK_CHARS = 2_000


@transaction.atomic
def rate(user: User, message_id: uuid.UUID, rating: int, reason: str) -> Message:
    """The answer, rated up (1), down (-1) or no more (0), with the reader's reason.

    Raises `ConversationNotFound` and `RemarkTooLong`.
    """
    message = locked_message(user, message_id, role=Message.Role.ASSISTANT)
    message.rating = rating or None
    message.rating_reason = checked_remark(reason) if rating else ""
    message.rated_at = now()
    message.save(update_fields=["rating", "rating_reason", "rated_at"])
    return message


@transaction.atomic
def flag(user: User, message_id: uuid.UUID, reason: str) -> Message:
    """The answer, put before the moderators with the reader's reason; once is enough.

    Raises `ConversationNotFound` and `RemarkTooLong`.
    """
    message = locked_message(user, message_id, role=Message.Role.ASSISTANT)
    if message.flagged_at is None:
        report(
            user,
            request_id=message.request_id,
            model=message.model,
            text=message.content,
            reason=checked_remark(reason),
        )
        message.flagged_at = now()
        message.save(update_fields=["flagged_at"])
    return message


def checked_remark(text: str) -> str:
    """What a reader says of an answer, as stored; it may be empty."""
    text = text.replace("\x00", "").strip()
    if len(text) > MAX_REMARK_CHARS:
        raise RemarkTooLong(MAX_REMARK_CHARS)
    return text
