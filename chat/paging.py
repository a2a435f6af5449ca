"""Long conversations come in pages: the newest messages first, older ones on demand."""

import uuid

from django.db.models.functions import Length

from chat.models import Conversation

PAGE_MESSAGES = 50
# Of all texts of a page together: an answer may be long by itself.
PAGE_CHARS = 300_000


def last_page(conversation: Conversation, path: list[uuid.UUID]) -> list[uuid.UUID]:
    """The end of a path as far as a page takes it: a message at least.

    One query, which reads no texts.
    """
    page = path[-PAGE_MESSAGES:]
    rows = conversation.messages.filter(pk__in=page).annotate(
        num_chars=Length("content") + Length("reasoning")
    )
    lengths = dict(rows.values_list("pk", "num_chars"))
    num_chars = 0
    for taken, message_id in enumerate(reversed(page)):
        num_chars += lengths[message_id]
        if taken and num_chars > PAGE_CHARS:
            return page[-taken:]
    return page
