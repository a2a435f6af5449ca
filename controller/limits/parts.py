"""What each web process has of what is for all of them."""

from django.conf import settings


def own_part(amount: int) -> int:
    """What of an allowance for all web processes one has for itself; at least one, so
    that small ones do not shut everybody out."""
    return max(1, amount // settings.WEB_PROCESSES) if amount else 0
