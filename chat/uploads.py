"""How large a body each address of the chat takes that takes files."""

from django.conf import settings
from django.urls import reverse


def body_limits() -> dict[str, int]:
    """Bytes for each path; empty where this process does not serve the chat."""
    if "chat" not in settings.SERVED_ROLES:
        return {}
    largest = {
        "chat:attachments": settings.CHAT_MAX_ATTACHMENT_BYTES,
        "chat:transfer": settings.CHAT_IMPORT_MAX_BYTES,
    }
    return {
        reverse(name): size + settings.FORM_FRAMING_BYTES
        for name, size in largest.items()
    }
