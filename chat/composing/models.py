"""Rows that go with prompts."""

import uuid
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from chat.composing.setups import Setup, setup_of
from controller.models import Membership, Team, User


class ConversationSetup(models.Model):
    """How one conversation asks its model; no row: as the model does by itself."""

    conversation = models.OneToOneField(
        "chat.Conversation", models.CASCADE, primary_key=True, related_name="setup_row"
    )
    system_prompt = models.TextField(blank=True)
    # as `composing.setups.Parameters` writes them
    parameters = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        return str(self.conversation_id)

    @property
    def setup(self) -> Setup:
        return setup_of(self.system_prompt, self.parameters)


class AttachmentQuerySet(models.QuerySet["Attachment"]):
    def of(self, user: User) -> Self:
        """This user's attachments: every fetch goes through here."""
        return self.filter(user=user)

    def of_guests(self, link_id: int | None) -> Self:
        """Those of all guests of this link together."""
        return self.filter(user__guest_link=link_id)

    def unsent(self) -> Self:
        """Those that no message has yet."""
        return self.filter(conversation=None)


class Attachment(models.Model):
    """A file that its owner attached to a prompt.

    Its bytes are in the database: several web processes on several machines share that
    and no folder, and a deleted conversation takes them along.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="attachments"
    )
    # Null until it is sent.
    conversation = models.ForeignKey(
        "chat.Conversation",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="attachments",
    )
    name = models.CharField(max_length=200)
    # As its bytes say, never as the browser does.
    media_type = models.CharField(max_length=100)
    content = models.BinaryField()
    num_bytes = models.PositiveIntegerField()
    # What a model reads of it; empty for a picture.
    text = models.TextField(blank=True)
    num_tokens = models.PositiveIntegerField()
    is_cut = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=now, editable=False)

    objects = AttachmentQuerySet.as_manager()

    class Meta:
        indexes = [
            # the purge of those that were never sent
            models.Index(
                fields=["created_at"],
                name="attachments_unsent",
                condition=Q(conversation__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_image(self) -> bool:
        return self.media_type.startswith("image/")

    @property
    def fields(self) -> dict[str, Any]:
        """What the page shows of it; messages keep a copy."""
        return {
            "id": str(self.id),
            "name": self.name,
            "is_image": self.is_image,
            "num_bytes": self.num_bytes,
            "num_tokens": self.num_tokens,
            "is_cut": self.is_cut,
        }


class SharedQuerySet(models.QuerySet[Any]):
    def usable_by(self, user: User) -> Self:
        """The user's own, those of their teams, and the site's."""
        own, teams = Q(user=user), Q(team__memberships__user=user)
        return self.filter(own | teams | Q(user=None, team=None)).order_by("name", "id")

    def managed_by(self, user: User) -> Self:
        """The user's own, and those of teams that they own."""
        owned = Q(
            team__memberships__user=user, team__memberships__role=Membership.Role.OWNER
        )
        return self.filter(Q(user=user) | owned)

    def of_site(self) -> Self:
        return self.filter(user=None, team=None)


class Shared(models.Model):
    """Something that is one person's, one team's, or the whole site's."""

    name = models.CharField(_("name"), max_length=80)
    # Both null: the site's.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True
    )
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)

    objects = SharedQuerySet.as_manager()

    class Meta:
        abstract = True
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user=None) | Q(team=None), name="%(class)s_has_one_owner"
            ),
            # A name is what one types: on each shelf there is one of it.
            models.UniqueConstraint(
                fields=["name", "user"],
                condition=Q(user__isnull=False),
                name="%(class)s_name_of_user",
            ),
            models.UniqueConstraint(
                fields=["name", "team"],
                condition=Q(team__isnull=False),
                name="%(class)s_name_of_team",
            ),
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(user=None, team=None),
                name="%(class)s_name_of_site",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Preset(Shared):
    """A set-up with a name, perhaps with the model that it was made for."""

    model = models.CharField(_("model"), max_length=200, blank=True)
    system_prompt = models.TextField(_("instructions"), blank=True)
    parameters = models.JSONField(default=dict, blank=True)

    class Meta(Shared.Meta):
        verbose_name = _("preset")
        verbose_name_plural = _("presets")

    @property
    def setup(self) -> Setup:
        return setup_of(self.system_prompt, self.parameters)

    def set_up(self, setup: Setup) -> None:
        """Take this over, to be saved."""
        self.system_prompt = setup.system_prompt
        self.parameters = setup.parameters.fields()


class SavedPrompt(Shared):
    """A prompt to be asked again; `{{name}}` in it is asked for each time."""

    text = models.TextField(_("text"))

    class Meta(Shared.Meta):
        verbose_name = _("saved prompt")
        verbose_name_plural = _("saved prompts")
