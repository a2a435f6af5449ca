"""What owners do with the people of their team, and how teams end."""

from collections.abc import Collection, Iterable

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, ProtectedError, Q, QuerySet
from django.utils.translation import gettext as _

from controller.models import (
    ApiKey,
    Membership,
    Revision,
    ServedModel,
    Team,
    User,
)


def teams_of(user: User) -> QuerySet[Team]:
    """The teams that this person is in, with how many people each has."""
    teams = Team.objects.filter(pk__in=user.memberships.values("team"))
    return teams.annotate(num_members=Count("memberships"))


def owned_teams(user: User) -> QuerySet[Team]:
    """Those of them that this person owns."""
    owned = user.memberships.filter(role=Membership.Role.OWNER)
    return Team.objects.filter(pk__in=owned.values("team"))


def add_member(team: Team, name_or_address: str, role: str) -> Membership:
    """The new membership of who has this username or address.

    Raises `ValidationError` where nobody or more than one has it, and for a member.
    """
    user = _found(name_or_address.strip())
    if team.memberships.filter(user=user).exists():
        raise ValidationError(
            _("%(user)s is in the team already."), params={"user": user.get_username()}
        )
    with transaction.atomic():
        membership = Membership.objects.create(team=team, user=user, role=role)
        Revision.bump("keys")
    return membership


def change_role(membership: Membership, role: str) -> None:
    """Make the member an owner, or an owner a member; the last owner stays one."""
    with transaction.atomic():
        membership = Membership.objects.select_for_update().get(pk=membership.pk)
        if role != Membership.Role.OWNER:
            _check_other_owner(membership)
        membership.role = role
        membership.save(update_fields=["role"])
        Revision.bump("keys")


def remove_member(membership: Membership) -> int:
    """How many keys were revoked: those that the person had made for the team, which
    would go on spending its budget. The last owner of a team with others stays."""
    with transaction.atomic():
        membership = Membership.objects.select_for_update().get(pk=membership.pk)
        _check_other_owner(membership)
        num_revoked = _revoke(keys_of(membership))
        membership.delete()
        Revision.bump("keys")
    return num_revoked


def revoke_keys_of_strangers(team: Team) -> int:
    """How many keys were revoked: those for the team whose holders are not in it any
    more, however they left."""
    members = team.memberships.values("user")
    with transaction.atomic():
        keys = ApiKey.objects.filter(team=team).exclude(user__in=members)
        return _revoke(keys.unrevoked())


def delete_teams(teams: Iterable[Team]) -> None:
    """Delete them, and revoke their keys, which no limit of theirs would hold any more.

    Raises `ProtectedError` while a model is for nobody else: it would be everybody's.
    """
    ids = [team.pk for team in teams]
    with transaction.atomic():
        if models := list(models_for_only(ids)):
            raise ProtectedError("Some models are for these teams alone.", set(models))
        _revoke(ApiKey.objects.filter(team__in=ids).unrevoked())
        Team.objects.filter(pk__in=ids).delete()
        Revision.bump("keys")


def models_for_only(team_ids: Collection[int]) -> QuerySet[ServedModel]:
    """The models that some of these teams may ask, and no other."""
    audiences = ServedModel.teams.through.objects.exclude(team__in=team_ids)
    models = ServedModel.objects.filter(teams__in=team_ids).distinct()
    return models.exclude(pk__in=audiences.values("servedmodel"))


def keys_of(membership: Membership) -> list[ApiKey]:
    """The usable keys that this member has made for the team."""
    keys = ApiKey.objects.filter(user=membership.user_id, team=membership.team_id)
    return list(keys.unrevoked())


def _revoke(keys: Iterable[ApiKey]) -> int:
    """How many these were."""
    revoked = list(keys)
    for key in revoked:
        key.revoke()
    return len(revoked)


def _check_other_owner(membership: Membership) -> None:
    if membership.role != Membership.Role.OWNER:
        return
    others = Membership.objects.filter(team=membership.team_id).exclude(
        pk=membership.pk
    )
    # Locked, so that of two owners who leave at once, one stays.
    owners = others.filter(role=Membership.Role.OWNER).select_for_update()
    if not owners.exists():
        raise ValidationError(_("A team needs an owner: make somebody else one first."))


def _found(name_or_address: str) -> User:
    is_meant = Q(username__iexact=name_or_address) | Q(email__iexact=name_or_address)
    people = User.objects.filter(is_active=True, guest_link=None)
    users = list(people.filter(is_meant)[:2])
    if len(users) == 1:
        return users[0]
    words = (
        _("More than one account has %(name)s: write the username.")
        if users
        else _("No account here has the name or address %(name)s.")
    )
    raise ValidationError(words, params={"name": name_or_address})
