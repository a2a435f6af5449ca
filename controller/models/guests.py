"""Links by which people chat as guests, without an account of their own."""

from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.durations import rough
from controller.identity import secrets
from controller.models.identity import Team, User
from controller.models.revision import Revision


class GuestLinkQuerySet(models.QuerySet["GuestLink"]):
    def open(self) -> Self:
        """Links whose guests may chat: neither ended nor revoked."""
        return self.filter(revoked_at=None, expires_at__gt=now())

    def with_room(self) -> Self:
        """Those of them that let one more guest in."""
        has_room = Q(max_guests=None) | Q(num_guests__lt=F("max_guests"))
        return self.open().filter(has_room)


def _too_far_off() -> ValidationError:
    return ValidationError(
        _("At most %(hours)d hours from now (GUEST_LINK_MAX_HOURS)."),
        params={"hours": settings.GUEST_LINK_MAX_HOURS},
    )


def default_guest_link_expiry() -> datetime:
    return now() + timedelta(hours=settings.GUEST_LINK_HOURS)


class GuestLink(models.Model):
    """A link that lets people chat as guests until it ends; what it opens, and to how
    many. Only the digest of its secret is kept.

    All its guests speak for one team, made with it: limits, rules of moderation and
    the ledger see them as they see any team.
    """

    note = models.CharField(
        _("note"), max_length=100, blank=True, help_text=_("What it is for.")
    )
    team = models.ForeignKey(
        Team, models.CASCADE, editable=False, related_name="guest_links"
    )
    prefix = models.CharField(_("beginning"), max_length=30, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    # Null: every model that is for everybody. A list: these, whomever they are for.
    allowed_models = models.JSONField(_("models"), null=True, blank=True)
    max_guests = models.PositiveIntegerField(
        _("guests at most"), null=True, blank=True, help_text=_("Empty: any number.")
    )
    num_guests = models.PositiveIntegerField(_("guests"), default=0, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("by"),
    )
    created_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(
        _("made"), default=now, editable=False
    )
    expires_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(
        _("ends"), default=default_guest_link_expiry
    )
    revoked_at: "models.DateTimeField[datetime | None, datetime | None]" = (
        models.DateTimeField(_("revoked"), null=True, editable=False)
    )

    objects = GuestLinkQuerySet.as_manager()

    class Meta:
        verbose_name = _("guest link")
        verbose_name_plural = _("guest links")
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.note or f"{self.prefix}…"

    @classmethod
    def issue(
        cls, created_by: User | None = None, **fields: Any
    ) -> "tuple[GuestLink, str]":
        """(the stored link, its secret). The secret is shown once, in an address.

        Raises `ValidationError` for an end that no link may have, and by field for what
        no row takes.
        """
        secret = secrets.make_secret(secrets.GUEST_LINK)
        prefix = secrets.shown_part(secret)
        link = cls(
            created_by=created_by,
            prefix=prefix,
            digest=secrets.digest(secret),
            **fields,
        )
        cls.check_end(link.expires_at)
        link.clean_fields(exclude=["team"])
        with transaction.atomic():
            link.team = Team.objects.create(name=f"Guests {prefix}")
            link.save(force_insert=True)
        return link, secret

    @staticmethod
    def end_after(hours: int) -> datetime:
        """The end of a link that is open for so long from now on.

        Raises `ValidationError` for longer than a link may be.
        """
        if hours > settings.GUEST_LINK_MAX_HOURS:  # no calendar may go so far
            raise _too_far_off()
        return now() + timedelta(hours=hours)

    @staticmethod
    def check_end(expires_at: datetime) -> None:
        """Raise `ValidationError` for an end that has passed or is too far off."""
        hours = settings.GUEST_LINK_MAX_HOURS
        if expires_at <= now():
            raise ValidationError(_("This moment has passed."))
        # A minute for a form that was filled in with the longest there is.
        if expires_at > now() + timedelta(hours=hours, minutes=1):
            raise _too_far_off()

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= now()

    @property
    def is_open(self) -> bool:
        """Whether its guests may chat."""
        return self.revoked_at is None and not self.has_expired

    @property
    def left_in_words(self) -> str:
        """In its largest unit, such as `2 d`: for narrow places."""
        return rough(self.expires_at - now())

    @property
    def is_full(self) -> bool:
        return self.max_guests is not None and self.num_guests >= self.max_guests

    def revoke(self) -> None:
        """Let nobody in and end its guests' answers, everywhere, within a second."""
        with transaction.atomic():
            self.revoked_at = now()
            self.save(update_fields=["revoked_at"])
            Revision.bump("keys")

    def take_place(self) -> bool:
        """Whether one more guest is let in: of two at once for the last place, one."""
        rows = type(self).objects.with_room().filter(pk=self.pk)
        return bool(rows.update(num_guests=F("num_guests") + 1))
