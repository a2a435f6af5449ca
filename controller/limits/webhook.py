"""The operator's webhook, signed as https://www.standardwebhooks.com describes it."""

import base64
import binascii
import json
from typing import Any

import aiohttp
from django.conf import settings
from django.utils.timezone import now
from standardwebhooks import Webhook

SECRET_PREFIX = "whsec_"  # noqa: S105  # how the standard marks secrets
MIN_SECRET_BYTES = 24


class NotDelivered(Exception):
    """The receiver did not take it; the text says why."""


async def deliver(identity: str, body: dict[str, Any]) -> None:
    """Post this to ALERT_WEBHOOK_URL; what is repeated bears the same identity.

    The address is the operator's own setting, so it may be a private one. A redirect is
    a failure: it could lead anywhere. Raises `NotDelivered`.
    """
    if not is_usable_secret(settings.ALERT_WEBHOOK_SECRET):
        # Celery's workers start without the system check that says so.
        raise NotDelivered("ALERT_WEBHOOK_SECRET is not 24 bytes or more in base64.")
    sent = json.dumps(body)
    timeout = aiohttp.ClientTimeout(settings.ALERT_WEBHOOK_TIMEOUT.total_seconds())
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                settings.ALERT_WEBHOOK_URL,
                data=sent,
                headers=_headers(identity, sent),
                allow_redirects=False,
            ) as answer,
        ):
            status = answer.status
    except TimeoutError as exc:
        raise NotDelivered(f"No answer within {timeout.total:g} seconds.") from exc
    except aiohttp.ClientError as exc:
        raise NotDelivered(f"{type(exc).__name__}: {exc}") from exc
    if not 200 <= status < 300:
        raise NotDelivered(f"The receiver answered {status}, not 2xx.")


def is_usable_secret(secret: str) -> bool:
    """Whether it is base64 of enough bytes, with or without its prefix."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return False
    return len(key) >= MIN_SECRET_BYTES


def _headers(identity: str, sent: str) -> dict[str, str]:
    moment = now()
    signature = Webhook(settings.ALERT_WEBHOOK_SECRET).sign(identity, moment, sent)
    return {
        "content-type": "application/json",
        "user-agent": "Switchyard",
        "webhook-id": identity,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }
