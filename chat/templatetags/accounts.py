"""What the account pages must know of the site."""

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def sign_up_mode() -> str:
    """Who may make an account: `open`, `invitation` or `closed`."""
    return settings.SIGN_UP
