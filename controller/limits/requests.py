"""Asking for more of a limit, and what operators answer."""

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from controller.models import Limit, LimitRequest, User


def ask(user: User, limit: Limit, amount: Decimal, reason: str) -> LimitRequest:
    """The request, which waits for an operator.

    Raises `ValidationError` for what no limit can be or is no more than there is, and
    where one of this person waits already.
    """
    Limit.check_amount(limit.kind, amount)
    if amount <= limit.amount:
        present = limit.in_words(limit.units)
        raise ValidationError({"amount": _("More than %s, please.") % present})
    request, is_new = LimitRequest.objects.get_or_create(
        user=user,
        limit=limit,
        state=LimitRequest.State.OPEN,
        defaults={
            "owner_name": limit.owner_name,
            "kind": limit.kind,
            "amount": amount,
            "reason": reason,
        },
    )
    if not is_new:
        raise ValidationError(
            _("You have asked for more of this already: wait for the answer.")
        )
    return request


def decide(
    request_id: int, operator: User, granted: Decimal | None, answer: str = ""
) -> LimitRequest:
    """The request, answered: its limit is `granted` from now on and every web process
    learns of it; None denies it.

    Raises `ValidationError`, with nothing changed, for what no limit can be, for a
    request that was answered already, and where the limit to raise was deleted.
    """
    with transaction.atomic():
        # Of two operators at once the second waits here, and finds it answered.
        request = LimitRequest.objects.select_for_update().get(pk=request_id)
        if not request.is_open:
            raise ValidationError(_already_decided(request))
        _answer(request, operator, granted, answer)
        if granted is not None:
            _grant(request, granted)
    return request


def withdraw(request: LimitRequest) -> None:
    """Take back a request that nobody has answered; an answered one stays."""
    LimitRequest.objects.open().filter(pk=request.pk).delete()


def _answer(
    request: LimitRequest, operator: User, granted: Decimal | None, answer: str
) -> None:
    states = LimitRequest.State
    request.state = states.DENIED if granted is None else states.APPROVED
    request.granted, request.answer = granted, answer
    request.decided_at, request.decided_by = now(), operator
    request.save(
        update_fields=["state", "granted", "answer", "decided_at", "decided_by"]
    )


def _grant(request: LimitRequest, amount: Decimal) -> None:
    Limit.check_amount(request.kind, amount)
    if request.limit is None or not request.limit.change(amount):
        raise ValidationError(
            _(
                "The limit was deleted since: there is nothing to raise. Deny the"
                " request with a word of this."
            )
        )


def _already_decided(request: LimitRequest) -> str:
    return _("It is %(state)s already, by %(who)s at %(when)s UTC.") % {
        "state": request.get_state_display(),
        "who": request.decided_by or _("somebody who is gone"),
        "when": f"{request.decided_at:%Y-%m-%d %H:%M}",
    }
