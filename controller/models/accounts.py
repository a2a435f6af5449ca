"""What stays of accounts that went."""

import hashlib
import json
import uuid
from typing import Any, Self

from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _


class DeletionReceipt(models.Model):
    """Proof that an account was deleted, and what went with it. It names nobody: who
    holds a copy shows it by the id and the hash."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    deleted_at = models.DateTimeField(_("deleted"), default=now, editable=False)
    # By kind of row: how many, and the SHA-256 of their keys.
    deleted = models.JSONField(_("what went"), editable=False)
    sha256 = models.CharField(max_length=64, editable=False)

    class Meta:
        verbose_name = _("deletion receipt")
        ordering = ["-deleted_at"]

    def __str__(self) -> str:
        return str(self.id)

    @classmethod
    def write(cls, deleted: dict[str, Any]) -> Self:
        """The stored receipt of these rows; kinds without rows are left out."""
        went = {name: each for name, each in deleted.items() if each["rows"]}
        receipt = cls(deleted=went)
        receipt.sha256 = receipt.hash()
        receipt.save(force_insert=True)
        return receipt

    def fields(self) -> dict[str, Any]:
        """What the hash is of."""
        return {
            "receipt": str(self.id),
            "deleted_at": self.deleted_at.isoformat(),
            "deleted": self.deleted,
        }

    def hash(self) -> str:
        """SHA-256 of the fields as JSON with sorted names and no spaces."""
        text = json.dumps(self.fields(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def copy(self) -> str:
        """What the person keeps: the fields with their hash, as JSON."""
        return json.dumps(self.fields() | {"sha256": self.sha256}, indent=2) + "\n"
