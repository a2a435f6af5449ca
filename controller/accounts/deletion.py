"""Deleting an account, and the receipt that says what went."""

import hashlib
from typing import Any

from allauth.usersessions.models import UserSession
from auditlog.context import disable_auditlog
from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Concat
from django.utils.translation import gettext as _

from controller.accounts.belongings import Belongings, belongings_of
from controller.models import (
    DeletionReceipt,
    LedgerEntry,
    Membership,
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
    others = User.objects.filter(is_superuser=True, is_active=True).exclude(pk=user.pk)
    if user.is_superuser and not others.exists():
        raise ValidationError(
            _("You are the last operator with all powers: give them to another first.")
        )
    if teams := teams_without_other_owner(user):
        raise ValidationError(
            _("Make somebody else an owner first, of: %(teams)s."),
            params={"teams": ", ".join(teams)},
        )


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
    """Entries about the accounts and by them stay, without name, address and changes.
    To be called while they are there."""
    kind = ContentType.objects.get_for_model(User)
    about = LogEntry.objects.filter(content_type=kind, object_id__in=user_ids)
    about.update(
        object_repr=Concat(Value("account "), "object_pk"),
        changes={},
        changes_text="",
        remote_addr=None,
    )
    by_them = LogEntry.objects.filter(actor__in=user_ids)
    by_them.update(actor_email=None, remote_addr=None)


def _log_deletion(user_id: int, receipt: DeletionReceipt) -> None:
    LogEntry.objects.create(
        content_type=ContentType.objects.get_for_model(User),
        object_pk=str(user_id),
        object_id=user_id,
        object_repr=f"account {user_id}",
        action=LogEntry.Action.DELETE,
        changes={"receipt": [str(receipt.pk), ""]},
    )


def make_anonymous(user_ids: list[int]) -> None:
    """What was used stays in the sums, and leads to nobody. In batches: there may be
    millions of rows.

    What was asked with their keys names them too. Rows are found by the index for users
    alone: by keys, every batch would read the whole ledger.
    """
    for model in (LedgerEntry, UsageHour, UsageDay):
        theirs = model._default_manager.filter(user_id__in=user_ids).order_by()
        while True:
            batch = list(theirs.values_list("pk", flat=True)[:BATCH_SIZE])
            if not batch:
                break
            rows = model._default_manager.filter(pk__in=batch)
            rows.update(user=None, key=None)
