"""Who can read a conversation, as the sidebar's dialog shows it."""

import uuid

from django.conf import settings
from django.http import HttpRequest

from chat.library_api import Answer, endpoint
from chat.readers import readers_of
from controller.models import User


@endpoint("GET")
def readers(user: User, request: HttpRequest, conversation_id: uuid.UUID) -> Answer:
    """Of a conversation of one's own; 404 for another's."""
    found = readers_of(user, conversation_id)
    return {
        "num_links": found.num_links,
        "num_staff": found.num_staff,
        "num_flags": found.num_flags,
        "flag_days": settings.MODERATION_RETENTION_DAYS,
        "classifiers": found.classifiers,
        "models": [
            {"name": each.name, "is_elsewhere": each.is_elsewhere}
            for each in found.models
        ],
        "goes_at": found.goes_at.isoformat() if found.goes_at else None,
        "undo_seconds": settings.CHAT_KEEP_DELETED.total_seconds(),
    }
