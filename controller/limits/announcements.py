"""Alerts about budgets, as letters and as calls of the operator's webhook.

A letter is in its reader's language; what programs read is in English.
"""

import logging
from collections import defaultdict
from datetime import UTC, datetime, time
from smtplib import SMTPException
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import translation
from django.utils.translation import gettext as _

from controller.limits import webhook
from controller.limits.alerts import percent_used
from controller.limits.periods import Period
from controller.models import BudgetAlert, Limit, Membership, User
from controller.prices import NANOS

logger = logging.getLogger(__name__)


def send(alert_id: str) -> None:
    """Send what of this alert is not sent yet, unless it is not due.

    A part that fails says why in the row, and is tried again when the row is due again.
    A repetition bears the same id; a letter that was sent is not sent again.
    """
    alert = BudgetAlert.objects.with_owners().filter(pk=alert_id).first()
    if alert is None or not alert.claim():
        return
    is_mailed = alert.mailed_at is not None or _mail(alert)
    is_delivered = (
        not settings.ALERT_WEBHOOK_URL
        or alert.webhook_delivered_at is not None
        or _call_webhook(alert)
    )
    if is_mailed and is_delivered:
        alert.finish()


def _mail(alert: BudgetAlert) -> bool:
    """Whether it was sent to everybody whom it concerns, who may be nobody.

    A letter for each language: when a later one fails, the earlier are sent again.
    """
    readers = recipients(alert.limit)
    try:
        for language, addresses in readers.items():
            _letter(alert, language, addresses).send()
    except (SMTPException, OSError, ValueError) as exc:  # no letter can be so addressed
        logger.warning("the letter of budget alert %s was not sent: %s", alert.pk, exc)
        alert.record_mail_error(str(exc) or type(exc).__name__)
        return False
    alert.record_mail(sum(map(len, readers.values())))
    return True


def _letter(alert: BudgetAlert, language: str, addresses: list[str]) -> EmailMessage:
    with translation.override(language):
        return EmailMessage(subject(alert), text(alert), to=addresses)


def _call_webhook(alert: BudgetAlert) -> bool:
    """Whether its receiver took it."""
    try:
        async_to_sync(webhook.deliver)(str(alert.pk), webhook_body(alert))
    except webhook.NotDelivered as exc:
        logger.warning("the webhook of budget alert %s failed: %s", alert.pk, exc)
        alert.record_webhook_error(str(exc))
        return False
    alert.record_webhook()
    return True


def recipients(limit: Limit) -> dict[str, list[str]]:
    """The addresses of whom this budget concerns, each once, by the language in which
    they are written to. One query at most.

    A key's or a user's own; those of a team's owners; for everyone's the superusers'.
    """
    people = User.objects.filter(is_active=True).exclude(email="")
    if limit.key is not None:
        people = people.filter(pk=limit.key.user_id)
    elif limit.user_id is not None:
        people = people.filter(pk=limit.user_id)
    elif limit.team_id is not None:
        owned = {"team_id": limit.team_id, "role": Membership.Role.OWNER}
        people = people.filter(memberships__in=Membership.objects.filter(**owned))
    else:
        people = people.filter(is_superuser=True)
    languages = {each.email: each.letter_language for each in people.order_by("email")}
    addresses = defaultdict(list)
    for email, language in languages.items():
        addresses[language].append(email)
    return addresses


# -- words ---------------------------------------------------------------------------


def subject(alert: BudgetAlert) -> str:
    words = _("%(percent)s %% used: %(budget)s") % {
        "percent": percent_used(alert.used, alert.total),
        # People name keys and teams; a line break would be refused as a forged header.
        "budget": " ".join(str(alert.limit).split()),
    }
    return f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}{words}"


def text(alert: BudgetAlert) -> str:
    """What is used, what is left, and when it begins anew."""
    limit = alert.limit
    lines = _("""\
The budget '%(budget)s' of %(owner)s is %(percent)s %% used.

Used:   %(used)s of %(total)s %(unit)s
Left:   %(left)s %(unit)s
Resets: %(resets)s UTC
""") % {
        "budget": limit.get_kind_display(),
        "owner": limit.full_owner_in_words,
        "percent": percent_used(alert.used, alert.total),
        "used": limit.in_words(alert.used),
        "total": limit.in_words(alert.total),
        "left": limit.in_words(_left(alert)),
        "unit": settings.CURRENCY if limit.kind in Limit.IN_MONEY else _("tokens"),
        "resets": f"{_resets_at(alert):%Y-%m-%d %H:%M}",
    }
    return f"{lines}\n{_consequence(alert)}\n"


def _consequence(alert: BudgetAlert) -> str:
    if alert.threshold == 100:
        return _("Requests that need more than what is left are refused until then.")
    return _("Requests are refused when nothing is left.")


def webhook_body(alert: BudgetAlert) -> dict[str, Any]:
    """The same for programs, in the shape that Standard Webhooks recommends."""
    limit = alert.limit
    in_money = limit.kind in Limit.IN_MONEY
    used, left, total = (
        units / NANOS if in_money else units
        for units in (alert.used, _left(alert), alert.total)
    )
    return {
        "type": "budget.threshold_reached",
        "timestamp": alert.created_at.isoformat(),
        "data": {
            "limit_id": limit.pk,
            "kind": limit.kind,
            "owner": _owner(limit),
            "threshold_percent": alert.threshold,
            "used": used,
            "left": left,
            "total": total,
            "unit": settings.CURRENCY if in_money else "tokens",
            "period_start": alert.period_start.isoformat(),
            "resets_at": _resets_at(alert).isoformat(),
        },
    }


def _owner(limit: Limit) -> str:
    """Whose it is; of a key also whose key."""
    of_user = f" of user '{limit.key.user}'" if limit.key is not None else ""
    return f"{limit.owner_name}{of_user}"


def _left(alert: BudgetAlert) -> int:
    return max(0, alert.total - alert.used)


def _resets_at(alert: BudgetAlert) -> datetime:
    start = datetime.combine(alert.period_start, time(), tzinfo=UTC)
    return Period.of(alert.limit.kind, start).ends_at
