"""Which rows of the chat the audit log watches: never what people write."""

from typing import Any

from django.db.models import Model

from chat.composing.models import Preset, SavedPrompt
from chat.models import SharedLink

WATCHED: dict[type[Model], dict[str, Any]] = {
    Preset: {"include_fields": ["name", "team", "model"]},
    SavedPrompt: {"include_fields": ["name", "team"]},
    SharedLink: {"include_fields": ["shows_name", "expires_at", "revoked_at"]},
}
