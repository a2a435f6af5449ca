"""What the chat page's script starts from, as far as it goes with prompts."""

from typing import Any

from django.conf import settings

from chat.composing.setups import PLAIN, Setup
from chat.composing.storing import setup_of
from chat.models import Conversation
from controller.models import User


def composing_fields(user: User, conversation: Conversation | None) -> dict[str, Any]:
    """One query for a conversation, none for a new one."""
    setup = setup_of(conversation) if conversation else PLAIN
    return {
        "user": user.pk,  # drafts of several people in one browser are kept apart
        "setup": setup_fields(setup),
        "canManageShelves": not user.is_guest,
        "maxAttachments": settings.CHAT_MAX_ATTACHMENTS,
        "maxAttachmentBytes": settings.CHAT_MAX_ATTACHMENT_BYTES,
    }


def setup_fields(setup: Setup) -> dict[str, Any]:
    """As the panel's form has them; what is not set is missing."""
    return {"system_prompt": setup.system_prompt, **setup.parameters.fields()}
