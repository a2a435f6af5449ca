"""Deleting an account, and the receipt that says what went."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from allauth.usersessions.models import UserSession
from auditlog.context import disable_auditlog
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib.admin.models import LogEntry as HistoryEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.utils.translation import gettext as _

from controller.accounts.belongings import Belongings, belongings_of, cascading
from controller.models import (
    DeletionReceipt,
    Invitation,
    LedgerEntry,
    Membership,
    ModerationFlag,
    Revision,
    UsageDay,
    UsageHour,
    User,
)

# Small enough that a request's own row does not wait long for SQLite's one writer.
BATCH_SIZE = 5_000


def delete_account(user: User) -> DeletionReceipt:
    """The receipt of what went: the account with all that is its own, signed out
    everywhere. The ledger keeps its sums, of nobody."""
    user_id = user.pk
    with transaction.atomic(), disable_auditlog():
        receipt = DeletionReceipt.write(
            {own.name: _summary(own) for own in belongings_of(user)}
        )
        forget_in_audit_log([user_id])
        for session in UserSession.objects.filter(user=user):
            session.end()
        user.delete()
        Revision.bump("keys")
    _log_deletion(user_id, receipt)
    make_anonymous([user_id])
    return receipt


def check_deletable(user: User) -> None:
    """Raise `ValidationError` where others depend on this account."""
    if user.is_superuser and not superusers_but([user.pk]).exists():
        raise ValidationError(
            _("You are the last operator with all powers: give them to another first.")
        )
    if teams := teams_without_other_owner(user):
        raise ValidationError(
            _("Make somebody else an owner first, of: %(teams)s."),
            params={"teams": ", ".join(teams)},
        )


def superusers_but(user_ids: Collection[int]) -> QuerySet[User]:
    """Those who would have all powers without these people."""
    superusers = User.objects.filter(is_superuser=True, is_active=True)
    return superusers.exclude(pk__in=user_ids)


def teams_without_other_owner(user: User) -> list[str]:
    """Names of the teams that others are in and this person alone owns."""
    owned = Membership.objects.filter(user=user, role=Membership.Role.OWNER)
    others = Membership.objects.exclude(user=user)
    has_owner = others.filter(role=Membership.Role.OWNER).values("team")
    alone = owned.filter(team__in=others.values("team")).exclude(team__in=has_owner)
    return list(alone.order_by("team__name").values_list("team__name", flat=True))


def _summary(own: Belongings) -> dict[str, Any]:
    """How many rows, and a hash of their keys in their order: who has kept a copy can
    show that it was of these rows."""
    digest = hashlib.sha256()
    num_rows = 0
    keys = own.rows.order_by("pk").values_list("pk", flat=True)
    for key in keys.iterator():
        digest.update(f"{key}\n".encode())
        num_rows += 1
    return {"rows": num_rows, "sha256": digest.hexdigest()}


def forget_in_audit_log(user_ids: list[int]) -> None:
    """Entries about the accounts, about what was theirs, and by them stay, without
    name, address and changes; in the console's histories too. To be called while they
    are there."""
    _forget(User, map(str, user_ids), "account")
    for model, keys in _owned(user_ids):
        _forget(model, keys, str(model._meta.model_name))
    invited = Invitation.objects.filter(accepted_by__in=user_ids)
    _forget(Invitation, map(str, invited.values_list("pk", flat=True)), "invitation")
    invited.update(email="")
    by_them = LogEntry.objects.filter(actor__in=user_ids)
    by_them.update(actor_email=None, remote_addr=None)


def _owned(user_ids: list[int]) -> Iterator[tuple[type[Model], set[str]]]:
    """(model, keys) of each kind of watched row that is theirs, or was: a former
    address is told of after it has gone."""
    ids = list(map(str, user_ids))
    for relation in cascading(User):
        model, field = relation.related_model, relation.field.name
        if not auditlog.contains(model):
            continue
        there = model._default_manager.filter(**{f"{field}__in": user_ids})
        named = Q(**{f"changes__{field}__0__in": ids})
        named |= Q(**{f"changes__{field}__1__in": ids})
        told = LogEntry.objects.filter(named, content_type=_kind(model))
        yield (
            model,
            {
                *map(str, there.values_list("pk", flat=True)),
                *told.values_list("object_pk", flat=True),
            },
        )


def _forget(model: type[Model], keys: Iterable[str], name: str) -> None:
    """Call these rows by name and key, and nothing else is told of them."""
    of_kind = {"content_type": _kind(model)}
    for pks in _batches(list(keys)):
        entries = LogEntry.objects.filter(**of_kind, object_pk__in=pks)
        entries.update(
            object_repr=Concat(Value(f"{name} "), "object_pk"),
            changes={},
            changes_text="",
            remote_addr=None,
        )
        history = HistoryEntry.objects.filter(**of_kind, object_id__in=pks)
        history.update(
            object_repr=Concat(Value(f"{name} "), "object_id"), change_message=""
        )


def _batches(keys: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(keys), BATCH_SIZE):
        yield keys[begin : begin + BATCH_SIZE]


def _kind(model: type[Model]) -> ContentType:
    return ContentType.objects.get_for_model(model)


def _log_deletion(user_id: int, receipt: DeletionReceipt) -> None:
    LogEntry.objects.create(
        content_type=_kind(User),
        object_pk=str(user_id),
        object_id=user_id,
        object_repr=f"account {user_id}",
        action=LogEntry.Action.DELETE,
        changes={"receipt": [str(receipt.pk), ""]},
    )


def make_anonymous(user_ids: list[int]) -> None:
    """What was used stays in the sums, and what rules found among the flags, and leads
    to nobody. In batches: there may be millions of rows.

    What was asked with their keys names them too. Rows are found by the index for users
    alone: by keys, every batch would read the whole ledger.
    """
    for model in (LedgerEntry, UsageHour, UsageDay, ModerationFlag):
        theirs = model._default_manager.filter(user_id__in=user_ids).order_by()
        while True:
            batch = list(theirs.values_list("pk", flat=True)[:BATCH_SIZE])
            if not batch:
                break
            rows = model._default_manager.filter(pk__in=batch)
            rows.update(user=None, key=None)
