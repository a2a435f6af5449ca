"""Links that share conversations, as rows."""

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from chat.models.conversations import Conversation


class SharedLinkQuerySet(models.QuerySet["SharedLink"]):
    def usable(self) -> Self:
        """Links that still open: not revoked, not expired, of what is not deleted."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now())
        return self.filter(unexpired, revoked_at=None, conversation__deleted_at=None)


class SharedLink(models.Model):
    """A link by which anybody who has it reads one conversation, without an account."""

    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="shared_links"
    )
    # SHA-256 of the secret in the address, which is shown once and stored nowhere.
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    token_start = models.CharField(max_length=12, editable=False)
    # What was shared, as it was; null for a link that shows how it goes on.
    snapshot = models.JSONField(null=True, blank=True, editable=False)
    shows_name = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = SharedLinkQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.token_start}…"

    @property
    def is_live(self) -> bool:
        """It shows what is said after it was made, too."""
        return self.snapshot is None

    @property
    def is_usable(self) -> bool:
        is_expired = self.expires_at is not None and self.expires_at <= now()
        return self.revoked_at is None and not is_expired

    def revoke(self) -> None:
        """Open to nobody from now on; a second time changes nothing."""
        if self.revoked_at is None:
            self.revoked_at = now()
            self.save(update_fields=["revoked_at"])
