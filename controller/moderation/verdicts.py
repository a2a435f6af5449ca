"""What operators say of flags, and what comes of it: strikes, and bans for a while."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from controller.models import Ban, ModerationFlag, Revision, User
from controller.models.moderation import ModerationFlagQuerySet

Verdict = ModerationFlag.Verdict


@transaction.atomic
def decide(
    flag_id: int, operator: User, verdict: Verdict, note: str = ""
) -> tuple[ModerationFlag, Ban | None]:
    """(the flag with this verdict, the ban that it brought its user).

    A verdict may be changed: a flag that is released after all is no strike, and a ban
    that has too few without it is lifted.
    """
    flag = ModerationFlag.objects.select_for_update().get(pk=flag_id)
    flag.verdict, flag.verdict_note = verdict, note
    flag.decided_by, flag.decided_at = operator, now()
    former, flag.ban = flag.ban, flag.ban if verdict == Verdict.CONFIRMED else None
    flag.save(
        update_fields=["verdict", "verdict_note", "decided_by", "decided_at", "ban"]
    )
    if former is not None and flag.ban is None:
        _lift_if_too_few(former, operator)
    return flag, _ban_if_due(flag) if verdict == Verdict.CONFIRMED else None


def num_strikes(user_id: int) -> int:
    """How many strikes the user has, of the MODERATION_STRIKES that bring a ban."""
    return ModerationFlag.objects.strikes_of(user_id).num_requests()


def _ban_if_due(flag: ModerationFlag) -> Ban | None:
    needed = settings.MODERATION_STRIKES
    if not needed or flag.user_id is None:
        return None
    user = User.objects.select_for_update().filter(pk=flag.user_id).first()
    if user is None:
        return None
    strikes = ModerationFlag.objects.strikes_of(user.pk)
    if strikes.num_requests() < needed:
        return None
    ban = Ban.objects.create(
        user=user,
        reason=_reason(strikes),
        by_strikes=True,
        ends_at=now() + timedelta(days=settings.MODERATION_BAN_DAYS),
    )
    strikes.update(ban=ban)
    Revision.bump("moderation")
    return ban


def _reason(strikes: ModerationFlagQuerySet) -> str:
    categories = sorted({*strikes.order_by().values_list("category", flat=True)})
    return _("%(times)d requests went against this site's rules about %(what)s.") % {
        "times": strikes.num_requests(),
        "what": ", ".join(categories)[:200],
    }


def _lift_if_too_few(ban: Ban, operator: User) -> None:
    if ban.strikes.num_requests() >= settings.MODERATION_STRIKES:
        return
    if Ban.objects.filter(pk=ban.pk).lift(operator):
        ban.strikes.update(ban=None)
