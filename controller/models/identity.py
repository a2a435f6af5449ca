"""Who may use the product: people, their teams, and their keys."""

from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.identity import secrets
from controller.models.revision import Revision


def languages() -> list[tuple[str, str]]:
    """Those in which pages and letters are written, with their names."""
    return [(code, str(name)) for code, name in settings.LANGUAGES]


class User(AbstractUser):
    """Somebody who signs in."""

    # Empty until one is chosen: pages are then in what the browser asks for.
    language = models.CharField(
        _("language of letters"),
        max_length=10,
        blank=True,
        default="",
        db_default="",
        choices=languages,
    )

    # While an operator is to decide about a new account (SIGN_UP=approval).
    approval_asked_at = models.DateTimeField(
        _("waits for approval since"), null=True, blank=True, editable=False
    )
    # Of a guest: the link that lets them chat. It cascades: no guest may outlive it and
    # become a person.
    guest_link = models.ForeignKey(
        "controller.GuestLink",
        models.CASCADE,
        null=True,
        blank=True,
        editable=False,
        related_name="guests",
        verbose_name=_("guest link"),
    )

    class Meta(AbstractUser.Meta):
        pass

    @property
    def letter_language(self) -> str:
        """Which letters to this person are in: their own, or the site's."""
        return self.language or settings.LANGUAGE_CODE

    def choose_language(self, language: str) -> None:
        """Write letters to this person in it from now on."""
        if self.language != language:
            self.language = language
            self.save(update_fields=["language"])

    @property
    def is_guest(self) -> bool:
        """Whether a guest link is all that lets them in. No query."""
        return self.guest_link_id is not None


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
        OWNER = "owner", _("Owner")
        MEMBER = "member", _("Member")

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
    def unrevoked(self) -> Self:
        """Keys that nobody revoked, of users who may sign in; expired ones too."""
        return self.filter(revoked_at=None, user__is_active=True)

    def active(self) -> Self:
        """Keys that are neither revoked nor expired, of users who may sign in."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now())
        return self.unrevoked().filter(unexpired)

    def ended(self) -> Self:
        """Keys that were revoked or have expired."""
        return self.exclude(revoked_at=None) | self.filter(expires_at__lte=now())

    def opened_by(self, digest: str) -> Self:
        """The key with this secret, or in whose overlap it is still taken."""
        in_overlap = Q(previous_digest=digest, previous_expires_at__gt=now())
        return self.filter(Q(digest=digest) | in_overlap).order_by()

    def beginning_with(self, text: str) -> Self:
        """Keys that a person means by this: a beginning, or a whole secret."""
        digest, shown = secrets.digest(text), secrets.longest_shown(text)
        whole = Q(digest=digest) | Q(previous_digest=digest)
        begins = Q(prefix__startswith=shown) | Q(previous_prefix__startswith=shown)
        return self.filter(whole | begins)


class ApiKey(models.Model):
    """One of a user's keys to `/v1`; only digests of its secrets are kept."""

    class Scope(models.TextChoices):
        INFERENCE = "inference", _("Call models")
        FLEET = "fleet", _("Read the fleet under /controller/")
        ENGINE = "engine", _("Set engine controls such as priority and chat_template")

    class Endpoint(models.TextChoices):
        MODELS = "/v1/models", "/v1/models"
        CHAT_COMPLETIONS = "/v1/chat/completions", "/v1/chat/completions"
        COMPLETIONS = "/v1/completions", "/v1/completions"
        EMBEDDINGS = "/v1/embeddings", "/v1/embeddings"
        RERANK = "/v1/rerank", "/v1/rerank"
        SCORE = "/v1/score", "/v1/score"
        TOKENIZE = "/v1/tokenize", "/v1/tokenize"
        DETOKENIZE = "/v1/detokenize", "/v1/detokenize"
        MODERATIONS = "/v1/moderations", "/v1/moderations"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_keys"
    )
    team = models.ForeignKey(
        Team, models.SET_NULL, related_name="api_keys", null=True, blank=True
    )
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=20, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    # Of a key that was made elsewhere: its first digest, for good. The secret has no
    # checksum of ours, and importing the same list again must not bring it back.
    imported_digest = models.CharField(  # noqa: DJ001  # unique where there is one
        max_length=64, unique=True, null=True, editable=False
    )
    # After a rotation: the secret before, taken until its overlap ends.
    previous_prefix = models.CharField(
        max_length=20, blank=True, db_default="", editable=False
    )
    previous_digest = models.CharField(  # noqa: DJ001  # unique where there is one
        max_length=64, null=True, editable=False
    )
    previous_expires_at = models.DateTimeField(null=True, editable=False)
    previous_last_used_at = models.DateTimeField(null=True, editable=False)
    is_publishable = models.BooleanField(
        _("publishable"),
        default=False,
        db_default=False,
        help_text=_("For scripts in browsers, where everybody can read it."),
    )
    scopes = models.JSONField(default=list, help_text=_("inference, fleet, engine"))
    # Null: every model. A list: these names (or aliases) and no other.
    allowed_models = models.JSONField(null=True, blank=True)
    # Empty: everywhere, from every site, every endpoint.
    allowed_networks = models.JSONField(default=list, db_default=[], blank=True)
    allowed_origins = models.JSONField(default=list, db_default=[], blank=True)
    allowed_endpoints = models.JSONField(default=list, db_default=[], blank=True)
    max_concurrent = models.PositiveIntegerField(
        null=True, blank=True, help_text=_("Requests at once; empty for no limit.")
    )
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]
        constraints = [
            # Its index serves the look-up of a key. Partial: over an index full of
            # nulls an analysed SQLite would rather read the whole table.
            models.UniqueConstraint(
                fields=["previous_digest"],
                condition=Q(previous_digest__isnull=False),
                name="previous_digest_is_unique",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def clean(self) -> None:
        """Raise `ValidationError` for a guest's key, and for a browser's that could do
        more than call models from its own sites."""
        if self.user_id is not None and self.user.is_guest:
            raise ValidationError(
                {"user": _("A guest has no keys, which would outlive the guest link.")}
            )
        if not self.is_publishable:
            return
        if self.scopes != [self.Scope.INFERENCE]:
            raise ValidationError(
                {"scopes": _("Everybody can read a publishable key: it only infers.")}
            )
        if not self.allowed_origins:
            raise ValidationError(
                {"allowed_origins": _("Name the sites that a publishable key is for.")}
            )

    @classmethod
    def issue(cls, user: User, name: str, **fields: object) -> "tuple[ApiKey, str]":
        """(the stored key, its secret). The secret is nowhere else: show it now.

        Raises `ValidationError` for what `clean` refuses.
        """
        fields.setdefault("scopes", [cls.Scope.INFERENCE.value])
        key = cls(user=user, name=name, **fields)
        key.clean()
        secret = key._take_new_secret()
        with transaction.atomic():
            key.save(force_insert=True)
            Revision.bump("keys")  # a digest refused a moment ago may be right now
        return key, secret

    def rotate(self, overlap: timedelta) -> str:
        """The key's new secret, which is nowhere else. The present one is taken until
        `overlap` has passed; one that was still in an overlap ends now."""
        with transaction.atomic():
            # As it stands now: of two rotations at once, both new secrets must work.
            current = type(self).objects.select_for_update().get(pk=self.pk)
            current.previous_prefix = current.prefix
            current.previous_digest = current.digest
            current.previous_last_used_at = current.last_used_at
            current.previous_expires_at = now() + overlap
            current.last_used_at = None
            secret = current._take_new_secret()
            current.save(
                update_fields=[
                    "prefix",
                    "digest",
                    "last_used_at",
                    "previous_prefix",
                    "previous_digest",
                    "previous_expires_at",
                    "previous_last_used_at",
                ]
            )
            Revision.bump("keys")
        self.refresh_from_db()
        return secret

    def end_overlap(self) -> None:
        """Refuse the secret before the last rotation everywhere, within a second."""
        with transaction.atomic():
            self.previous_expires_at = now()
            self.save(update_fields=["previous_expires_at"])
            Revision.bump("keys")

    def revoke(self) -> None:
        """Refuse this key, with all its secrets, everywhere, within a second."""
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

    @property
    def is_in_overlap(self) -> bool:
        """Whether the secret before the last rotation is taken still."""
        ends_at = self.previous_expires_at
        return self.is_active and ends_at is not None and ends_at > now()

    def _take_new_secret(self) -> str:
        kind = secrets.PUBLISHABLE_KEY if self.is_publishable else secrets.API_KEY
        secret = secrets.make_secret(kind)
        self.prefix = secrets.shown_part(secret)
        self.digest = secrets.digest(secret)
        return secret


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

    def is_for(self, address: str) -> bool:
        """Whether an account of this address can be made by it: of any, unless it names
        one."""
        return self.email.lower() in {"", address.lower()}

    def accept(self, user: User) -> bool:
        """Whether this call took it: of two at once, exactly one does."""
        taken = (
            type(self)
            .objects.open()
            .filter(pk=self.pk)
            .update(accepted_at=now(), accepted_by=user)
        )
        return bool(taken)
