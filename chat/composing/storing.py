"""A conversation's set-up in the database."""

import msgspec

from chat.composing.models import ConversationSetup
from chat.composing.setups import PLAIN, Setup
from chat.models import Conversation


def setup_of(conversation: Conversation) -> Setup:
    """One query, or none where the row was read with the conversation."""
    row: ConversationSetup | None = getattr(conversation, "setup_row", None)
    return row.setup if row else PLAIN


def store_setup(conversation: Conversation, setup: Setup) -> None:
    fields = {
        "system_prompt": setup.system_prompt,
        "parameters": msgspec.to_builtins(setup.parameters),
    }
    ConversationSetup.objects.update_or_create(pk=conversation.pk, defaults=fields)
