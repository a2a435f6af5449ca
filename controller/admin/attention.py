"""What an operator should look at, each with the page where it is mended."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import F, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import ngettext_lazy

from controller.accounts import approval
from controller.ledger.rollups import hours_to_roll_up
from controller.models import (
    ApiKey,
    EngineStart,
    LimitRequest,
    ModerationFlag,
    Worker,
    WorkerBreaker,
)
from controller.models.engines import PARTS_PER_MILLION
from controller.models.usage import HOUR, hour_of

RECENT = timedelta(days=7)
GOOD_PPM = 1_000  # 0.1 %


@dataclass(frozen=True, slots=True)
class Item:
    words: str
    url: str
    colour: str


def attention(request: HttpRequest) -> list[Item]:
    """The worst first; what the operator may not see is left out. A query each."""
    items = [
        item
        for permission, look in LOOKS
        if request.user.has_perm(f"controller.{permission}")
        for item in look()
    ]
    return sorted(items, key=lambda item: item.colour != "danger")


def _item(number: int, words: Any, url: str, colour: str = "warning") -> list[Item]:
    """One item, whose words are a plural that counts `number`; none for none."""
    if not number:
        return []
    return [Item(words % {"number": number}, url, colour)]


def _breakers() -> list[Item]:
    taken_out = WorkerBreaker.objects.current().filter(
        state="open", worker__left_at=None
    )
    return _item(
        taken_out.values("worker").distinct().count(),
        ngettext_lazy(
            "The breaker of %(number)d worker is open.",
            "The breakers of %(number)d workers are open.",
            "number",
        ),
        reverse("fleet"),
        "danger",
    )


def _lost_workers() -> list[Item]:
    lost = Worker.objects.registered().exclude(expired_at=None)
    return _item(
        lost.count(),
        ngettext_lazy(
            "%(number)d worker has been lost.",
            "%(number)d workers have been lost.",
            "number",
        ),
        reverse("admin:controller_worker_changelist") + "?state=expired",
        "danger",
    )


def _expired_keys() -> list[Item]:
    expired = ApiKey.objects.unrevoked().filter(
        expires_at__range=(now() - RECENT, now())
    )
    return _item(
        expired.count(),
        ngettext_lazy(
            "%(number)d API key has expired in the last week.",
            "%(number)d API keys have expired in the last week.",
            "number",
        ),
        reverse("admin:controller_apikey_changelist") + "?state=expired",
    )


def _flags() -> list[Item]:
    return _item(
        ModerationFlag.objects.waiting().count(),
        ngettext_lazy(
            "%(number)d moderation flag waits for a verdict.",
            "%(number)d moderation flags wait for a verdict.",
            "number",
        ),
        reverse("admin:controller_moderationflag_changelist")
        + f"?verdict__exact={ModerationFlag.Verdict.OPEN}",
    )


def _limit_requests() -> list[Item]:
    return _item(
        LimitRequest.objects.open().count(),
        ngettext_lazy(
            "%(number)d request for more waits for an answer.",
            "%(number)d requests for more wait for an answer.",
            "number",
        ),
        reverse("admin:controller_limitrequest_changelist")
        + f"?state__exact={LimitRequest.State.OPEN}",
    )


def _sign_ups() -> list[Item]:
    return _item(
        approval.waiting().count(),
        ngettext_lazy(
            "%(number)d new account waits for approval.",
            "%(number)d new accounts wait for approval.",
            "number",
        ),
        reverse("admin:controller_user_changelist") + "?approval=waits",
    )


def _differences() -> list[Item]:
    """Engines that counted other tokens than the ledger, by more than 0.1 %."""
    engine = (
        F("last_prompt_tokens")
        - F("first_prompt_tokens")
        + F("last_completion_tokens")
        - F("first_completion_tokens")
    )
    ledger = (
        F("counted_prompt_tokens")
        + F("counted_completion_tokens")
        + F("cut_prompt_tokens")
        + F("cut_completion_tokens")
    )
    compared = EngineStart.objects.filter(
        last_heard_at__gte=now() - RECENT, reconciled_at__isnull=False
    ).annotate(off=(engine - ledger) * PARTS_PER_MILLION, bound=engine * GOOD_PPM)
    return _item(
        compared.filter(Q(off__gt=F("bound")) | Q(off__lt=-F("bound"))).count(),
        ngettext_lazy(
            "%(number)d engine counted other tokens than the ledger.",
            "%(number)d engines counted other tokens than the ledger.",
            "number",
        ),
        reverse("admin:controller_enginestart_changelist"),
    )


def _pending_roll_ups() -> list[Item]:
    # The hour before this one may be a minute away from its roll-up.
    late = hours_to_roll_up().filter(begins_at__lt=hour_of(now()) - HOUR)
    return _item(
        late.count(),
        ngettext_lazy(
            "%(number)d hour of the ledger waits for the task worker to add it.",
            "%(number)d hours of the ledger wait for the task worker to add them.",
            "number",
        ),
        reverse("usage"),
    )


LOOKS: tuple[tuple[str, Callable[[], list[Any]]], ...] = (
    ("view_worker", _breakers),
    ("view_worker", _lost_workers),
    ("view_moderationflag", _flags),
    ("view_limitrequest", _limit_requests),
    ("view_user", _sign_ups),
    ("view_apikey", _expired_keys),
    ("view_enginestart", _differences),
    ("view_ledgerentry", _pending_roll_ups),
)
