"""Messages of late, for moderation rules to be tried on."""

from collections.abc import Iterator
from datetime import datetime

from chat.models import Message
from controller.moderation.samples import Sample


def recent_messages(since: datetime, most: int) -> Iterator[Sample]:
    """What was asked and answered since then, the latest first, but for temporary
    conversations and deleted ones. One query."""
    rows = Message.objects.filter(
        deleted_at=None,
        conversation__deleted_at=None,
        conversation__is_temporary=False,
        state=Message.State.COMPLETE,
        written_at__gte=since,
        role__in=(Message.Role.USER, Message.Role.ASSISTANT),
    )
    latest = rows.exclude(content="").order_by("-written_at")[:most]
    for user_id, username, role, model, text, written_at in latest.values_list(
        "conversation__user_id",
        "conversation__user__username",
        "role",
        "conversation__model",
        "content",
        "written_at",
    ).iterator(chunk_size=200):
        is_prompt = role == Message.Role.USER
        yield Sample(user_id, username, is_prompt, model, text, written_at)
