"""Whether a key or a token still opens anything, in one word."""

from typing import Any

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class SecretState(TextChoices):
    USABLE = "usable", _("usable")
    USED = "used", _("used up")
    EXPIRED = "expired", _("expired")
    REVOKED = "revoked", _("revoked")


COLOURS = {
    SecretState.USABLE: "success",
    SecretState.USED: "default",
    SecretState.EXPIRED: "warning",
    SecretState.REVOKED: "danger",
}


def shown(state: SecretState) -> tuple[str, Any]:
    """As django-unfold's label wants it: what picks the colour, and what is read."""
    return state.value, state.label
