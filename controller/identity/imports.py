"""Keys that were made elsewhere, such as FastChat's `--api-keys`, taken over.

Their holders go on as they are. Such keys bear no checksum of ours, so the key ring
knows all their digests beforehand: a wrong guess still costs no query.
"""

import json
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Q

from controller.identity import secrets
from controller.identity.credentials import MAX_LENGTH
from controller.models import ApiKey, Revision, User

# Shorter ones can be guessed, and found again from a stolen table of digests.
WEAK_LENGTH = 20


@dataclass(slots=True)
class ImportedKeys:
    new: list[ApiKey] = field(default_factory=list)
    num_known: int = 0
    """Already there, whatever became of them since: revoked ones stay revoked."""
    num_weak: int = 0

    def __str__(self) -> str:
        words = f"{len(self.new)} imported, {self.num_known} known already."
        if self.num_weak:
            words += (
                f" {self.num_weak} are shorter than {WEAK_LENGTH} characters and can"
                " be guessed: rotate them soon."
            )
        return words


def read_key_list(text: str) -> list[str]:
    """The keys of a list with commas or lines, or in JSON, each once, in their order.

    Raises ValueError, which names a wrong one by its position: a key is no word to
    show.
    """
    stripped = text.strip()
    if stripped.startswith("["):
        items = json.loads(stripped)
    else:
        items = stripped.replace("\n", ",").split(",")
    keys: dict[str, None] = {}
    for position, item in enumerate(items, start=1):
        if not isinstance(item, str) or not _is_sendable(item.strip()):
            raise ValueError(
                f"Number {position} of the list is no key that a header can bear: at"
                f" most {MAX_LENGTH} printable ASCII characters without space or comma."
            )
        if item.strip():
            keys[item.strip()] = None
    return list(keys)


def _is_sendable(key: str) -> bool:
    is_plain = key.isascii() and key.isprintable() and " " not in key and "," not in key
    return is_plain and len(key) <= MAX_LENGTH


@transaction.atomic
def import_keys(user: User, keys: list[str], label: str = "imported") -> ImportedKeys:
    """What became of each: an inference key of `user`, unless it is there already."""
    imported = ImportedKeys()
    by_digest = {secrets.digest(secret): secret for secret in keys}
    known = _known(list(by_digest))
    for number, (digest, secret) in enumerate(by_digest.items(), start=1):
        if digest in known:
            imported.num_known += 1
            continue
        imported.num_weak += len(secret) < WEAK_LENGTH
        imported.new.append(
            ApiKey.objects.create(
                user=user,
                name=f"{label} {number}",
                prefix=secrets.shown_part_of_foreign(secret),
                digest=digest,
                imported_digest=digest,
                scopes=[ApiKey.Scope.INFERENCE.value],
            )
        )
    if imported.new:
        Revision.bump("keys")
    return imported


def _known(digests: list[str]) -> set[str]:
    """Which of these are keys, or were before a rotation."""
    held = Q(digest__in=digests) | Q(imported_digest__in=digests)
    rows = ApiKey.objects.filter(held).values_list("digest", "imported_digest")
    return {digest for row in rows for digest in row if digest}
