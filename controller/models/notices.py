"""What operators tell everybody: announcements, and terms that are agreed to."""

from datetime import datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _


class AnnouncementQuerySet(models.QuerySet["Announcement"]):
    def current(self) -> Self:
        """Those that are shown now, the newest first."""
        begun = Q(begins_at=None) | Q(begins_at__lte=now())
        not_over = Q(ends_at=None) | Q(ends_at__gt=now())
        return self.filter(begun & not_over)


class Announcement(models.Model):
    """A line above every page, until its time is over or the reader puts it away."""

    class Level(models.TextChoices):
        INFO = "info", _("information")
        WARNING = "warning", _("warning")
        DANGER = "danger", _("disturbance")

    text = models.CharField(_("text"), max_length=500)
    level = models.CharField(
        _("level"), max_length=10, choices=Level, default=Level.INFO
    )
    begins_at = models.DateTimeField(_("from"), null=True, blank=True)
    ends_at = models.DateTimeField(_("until"), null=True, blank=True)
    is_dismissible = models.BooleanField(_("can be put away"), default=True)

    objects = AnnouncementQuerySet.as_manager()

    class Meta:
        verbose_name = _("announcement")
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(level__in=["info", "warning", "danger"]),
                name="announcement_level_known",
            )
        ]

    def __str__(self) -> str:
        return self.text[:60]


class TermsVersion(models.Model):
    """The terms of use from some moment on. A text that people agreed to is never
    changed: a new version takes its place."""

    version = models.CharField(_("version"), max_length=50, unique=True)
    text = models.TextField(_("text"))
    published_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(
        _("published"), default=now
    )

    class Meta:
        verbose_name = _("version of the terms")
        verbose_name_plural = _("terms of use")
        ordering = ["-published_at", "-pk"]

    def __str__(self) -> str:
        return self.version

    @classmethod
    def current(cls) -> "TermsVersion | None":
        """The newest that is published by now; None where there are no terms."""
        return cls.objects.filter(published_at__lte=now()).first()


class TermsConsent(models.Model):
    """That somebody agreed to a version: when, and from which address."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="terms_consents"
    )
    terms = models.ForeignKey(TermsVersion, models.PROTECT, related_name="consents")
    agreed_at = models.DateTimeField(_("agreed"), default=now, editable=False)
    address = models.GenericIPAddressField(_("address"), null=True, editable=False)

    class Meta:
        verbose_name = _("consent to the terms")
        verbose_name_plural = _("consents to the terms")
        ordering = ["-agreed_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "terms"], name="one_consent_to_a_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} to {self.terms}"
