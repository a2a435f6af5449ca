"""Who may use the product: people, their teams, and their keys."""

from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.db.models import Q
from django.utils.timezone import now

from controller.identity import secrets
from controller.models.revision import Revision


class User(AbstractUser):
    """Somebody who signs in."""

    class Meta(AbstractUser.Meta):
        pass


class Team(models.Model):
    name = models.CharField(max_length=100, unique=True)
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="Membership", related_name="teams"
    )
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    class Role(models.TextChoices):
        OWNER = "owner"
        MEMBER = "member"

    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "user"], name="one_membership_each"
            ),
            models.CheckConstraint(
                condition=Q(role__in=["owner", "member"]), name="membership_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.team} ({self.role})"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def active(self) -> Self:
        """Keys that are neither revoked nor expired, of users who may sign in."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now())
        return self.filter(unexpired, revoked_at=None, user__is_active=True)


class ApiKey(models.Model):
    """One of a user's keys to `/v1`; only its digest is kept."""

    class Scope(models.TextChoices):
        INFERENCE = "inference", "Call models"
        FLEET = "fleet", "Read the fleet under /controller/"
        ENGINE = "engine", "Set engine controls such as priority and chat_template"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_keys"
    )
    team = models.ForeignKey(
        Team, models.SET_NULL, related_name="api_keys", null=True, blank=True
    )
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=20, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list, help_text="inference, fleet, engine")
    # Null: every model. A list: these names (or aliases) and no other.
    allowed_models = models.JSONField(null=True, blank=True)
    max_concurrent = models.PositiveIntegerField(
        null=True, blank=True, help_text="Requests at once; empty for no limit."
    )
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(cls, user: User, name: str, **fields: object) -> "tuple[ApiKey, str]":
        """(the stored key, its secret). The secret is nowhere else: show it now."""
        secret = secrets.make_secret(secrets.API_KEY)
        fields.setdefault("scopes", [cls.Scope.INFERENCE.value])
        with transaction.atomic():
            key = cls.objects.create(
                user=user,
                name=name,
                prefix=secrets.shown_part(secret),
                digest=secrets.digest(secret),
                **fields,
            )
            Revision.bump("keys")  # a digest refused a moment ago may be right now
        return key, secret

    def revoke(self) -> None:
        """Refuse this key everywhere, within a second."""
        with transaction.atomic():
            self.revoked_at = now()
            self.save(update_fields=["revoked_at"])
            Revision.bump("keys")

    @property
    def is_active(self) -> bool:
        return self.revoked_at is None and not self.is_expired

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= now()


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> Self:
        """Invitations that can still be accepted."""
        return self.filter(accepted_at=None, expires_at__gt=now())


def default_invitation_expiry() -> datetime:
    return now() + timedelta(days=7)


class Invitation(models.Model):
    """A link by which one person may make an account while sign-up is not open."""

    email = models.EmailField(blank=True)
    prefix = models.CharField(max_length=30, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(default=default_invitation_expiry)
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    accepted_by = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="invitation"
    )

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.email or f"{self.prefix}…"

    @classmethod
    def issue(
        cls, invited_by: User | None = None, email: str = "", **fields: object
    ) -> "tuple[Invitation, str]":
        """(the stored invitation, its secret). The secret is shown once, as a link."""
        secret = secrets.make_secret(secrets.INVITATION)
        invitation = cls.objects.create(
            invited_by=invited_by,
            email=email,
            prefix=secrets.shown_part(secret),
            digest=secrets.digest(secret),
            **fields,
        )
        return invitation, secret

    def accept(self, user: User) -> bool:
        """Whether this call took it: of two at once, exactly one does."""
        taken = (
            type(self)
            .objects.open()
            .filter(pk=self.pk)
            .update(accepted_at=now(), accepted_by=user)
        )
        return bool(taken)
