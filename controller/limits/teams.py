"""What owners of a team may do: hold its keys below the team's own limits."""

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from controller.models import ApiKey, Limit, Membership, Team, User


def owned_keys(user: User) -> QuerySet[ApiKey]:
    """The usable keys, anybody's, of the teams that this person owns."""
    owned = Membership.objects.filter(user=user, role=Membership.Role.OWNER)
    return ApiKey.objects.active().filter(team__in=owned.values("team"))


def ceilings(team: Team) -> QuerySet[Limit]:
    """The team's limits that its keys can have too. A key's own requests at once are a
    field of the key."""
    return team.limits.exclude(kind=Limit.Kind.CONCURRENT)


def limit_key(key: ApiKey, kind: str, amount: Decimal) -> Limit:
    """The key's limit of this kind, set; every web process learns of it.

    Raises `ValidationError` for a kind that the key's team has no limit of, and for
    more than the team's own.
    """
    Limit.check_amount(kind, amount)
    assert key.team is not None
    ceiling = ceilings(key.team).filter(kind=kind).first()
    if ceiling is None:
        raise ValidationError({"kind": _("The team itself has no such limit.")})
    if amount > ceiling.amount:
        most = ceiling.in_words(ceiling.units)
        raise ValidationError({"amount": _("At most the team's own %s.") % most})
    return Limit.put(kind, amount, key_id=key.pk)
