"""Bans: people who may not use models for a while, and why."""

from datetime import datetime
from typing import Self

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.models.identity import User
from controller.models.revision import Revision


class BanQuerySet(models.QuerySet["Ban"]):
    def in_force(self) -> Self:
        """Bans that hold now."""
        unended = Q(ends_at=None) | Q(ends_at__gt=now())
        return self.filter(unended, lifted_at=None)

    def over(self) -> Self:
        """Bans that have ended or were lifted."""
        return self.filter(Q(ends_at__lte=now()) | Q(lifted_at__isnull=False))

    def lift(self, operator: User) -> int:
        """How many of these bans end now, by this operator's word."""
        with transaction.atomic():
            bans = list(self.in_force().select_for_update(of=("self",)))
            for ban in bans:  # one by one: the audit log has each
                ban.lifted_at, ban.lifted_by = now(), operator
                ban.save(update_fields=["lifted_at", "lifted_by"])
            Revision.bump("moderation")
        return len(bans)


class Ban(models.Model):
    """Somebody may not use models, in the chat or by a key, until it ends."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="bans",
        verbose_name=_("user"),
    )
    reason = models.CharField(
        _("reason"), max_length=300, help_text=_("The user reads this.")
    )
    note = models.TextField(
        _("note"), blank=True, max_length=1000, help_text=_("For operators alone.")
    )
    by_strikes = models.BooleanField(_("by strikes"), default=False, editable=False)
    created_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(
        _("since"), default=now, editable=False
    )
    ends_at: "models.DateTimeField[datetime | None, datetime | None]" = (
        models.DateTimeField(
            _("ends"),
            null=True,
            blank=True,
            help_text=_("Empty: until an operator lifts it."),
        )
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("by"),
    )
    lifted_at: "models.DateTimeField[datetime | None, datetime | None]" = (
        models.DateTimeField(_("lifted"), null=True, editable=False)
    )
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("lifted by"),
    )

    objects = BanQuerySet.as_manager()

    class Meta:
        verbose_name = _("ban")
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.user} ({self.reason})"

    @property
    def is_in_force(self) -> bool:
        ends_at = self.ends_at
        return self.lifted_at is None and (ends_at is None or ends_at > now())
