"""The queue of new accounts that an operator lets in, or not."""

from allauth.account.adapter import get_adapter
from allauth.core import context
from allauth.utils import build_absolute_uri
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.timezone import now

from controller.accounts.deletion import delete_account
from controller.models import Revision, User


def waiting() -> QuerySet[User]:
    """Accounts that nobody has decided about."""
    return User.objects.filter(approval_asked_at__isnull=False)


def ask(user: User) -> None:
    """Keep the new account out until an operator lets it in."""
    user.is_active = False
    user.approval_asked_at = now()
    user.save(update_fields=["is_active", "approval_asked_at"])
    _write(user, "account/email/approval_asked")


def approve(user: User) -> bool:
    """Let the account in, and write to its address; False if it did not wait."""
    with transaction.atomic():
        decided = (
            waiting().filter(pk=user.pk).update(is_active=True, approval_asked_at=None)
        )
        if not decided:
            return False
        Revision.bump("keys")
    _write(user, "account/email/approved")
    return True


def refuse(user: User) -> bool:
    """Delete an account that waits, as others are deleted, and write to its address;
    False if it did not."""
    with transaction.atomic():
        still_waiting = waiting().select_for_update().filter(pk=user.pk).first()
        if still_waiting is None:
            return False
        delete_account(still_waiting)
    _write(user, "account/email/refused")
    return True


def _write(user: User, template: str) -> None:
    """A letter, once what it tells of is so; nothing for an account without address."""
    if user.email:
        sign_in = build_absolute_uri(context.request, reverse(settings.LOGIN_URL))
        words = {"user": user, "sign_in_url": sign_in}
        adapter = get_adapter()
        transaction.on_commit(
            lambda: adapter.send_mail(template, user.email, words), robust=True
        )
