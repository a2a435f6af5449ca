"""The first operator, API key and join token of an installation, made once.

What was made is written to `VAR_DIR/credentials.json` (mode 0600) for people and
scripts on this machine. Secrets are stored as digests only, so a file that is lost
cannot be written again: `renew` makes new ones.
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from django.conf import settings
from django.db import transaction

from controller.models import ApiKey, JoinToken, Limit, User

USERNAME = "admin"
KEY_NAME = "first key"
# More than one machine serves; so that clients see OpenAI's headers from the start.
FIRST_LIMITS = {
    Limit.Kind.REQUESTS_PER_MINUTE: 600_000,
    Limit.Kind.TOKENS_PER_MINUTE: 600_000_000,
}
TOKEN_NOTE = "first token: this machine's own workers"  # noqa: S105  # not a token


@dataclass(frozen=True)
class Addresses:
    """Where the product is reached, and what its first model is called."""

    base_url: str
    model: str

    def fields(self) -> dict[str, str]:
        return {
            "base_url": self.base_url,
            "api_base": f"{self.base_url}/v1",
            "admin_url": f"{self.base_url}/admin/",
            "chat_url": f"{self.base_url}/",
            "model": self.model,
        }


@dataclass(frozen=True)
class Credentials:
    """The content of `credentials.json`."""

    base_url: str
    api_base: str
    admin_url: str
    chat_url: str
    username: str
    password: str
    api_key: str
    join_token: str
    model: str

    @classmethod
    def read(cls) -> Self | None:
        """The stored credentials; None where the file is missing or damaged."""
        try:
            return cls(**json.loads(credentials_file().read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self) -> None:
        """Store the credentials, and the join token where workers look for it."""
        write_private(join_token_file(), self.join_token + "\n")
        write_private(credentials_file(), json.dumps(asdict(self), indent=2) + "\n")

    @property
    def is_password_current(self) -> bool:
        """Whether the password still signs in: people change theirs. One query."""
        user = User.objects.filter(username=self.username).first()
        return user is not None and user.check_password(self.password)


def credentials_file() -> Path:
    return Path(settings.VAR_DIR) / "credentials.json"


def join_token_file() -> Path:
    return Path(settings.VAR_DIR) / "join_token"


def bootstrap(addresses: Addresses) -> Credentials | None:
    """Make what a new installation needs; an existing one has its addresses updated.

    None if an operator exists and the credentials file does not: nothing is changed
    then, since a password must not be reset unasked.
    """
    # The file is written before the commit: a crash between the two leaves no
    # operator, and the next start makes both anew.
    with transaction.atomic():
        if not User.objects.filter(is_superuser=True).exists():
            operator = User.objects.create_superuser(USERNAME)
            return _issue(operator, addresses)
    known = Credentials.read()
    if known is None:
        return None
    current = replace(known, **addresses.fields())
    if current != known or not join_token_file().exists():
        current.write()
    return current


@transaction.atomic
def renew(addresses: Addresses) -> Credentials:
    """Replace the first operator's password, key and join token by new ones.

    The old ones stop working; other people's keys and tokens stay as they are.
    """
    operator, _is_new = User.objects.get_or_create(username=USERNAME)
    for key in ApiKey.objects.filter(user=operator, name=KEY_NAME, revoked_at=None):
        key.revoke()
    for token in JoinToken.objects.filter(note=TOKEN_NOTE, revoked_at=None):
        token.revoke()
    operator.is_active = operator.is_staff = operator.is_superuser = True
    return _issue(operator, addresses)


def _issue(operator: User, addresses: Addresses) -> Credentials:
    password = secrets.token_urlsafe(12)
    operator.set_password(password)
    operator.save()
    scopes = [ApiKey.Scope.INFERENCE.value, ApiKey.Scope.FLEET.value]
    key, api_key = ApiKey.issue(operator, KEY_NAME, scopes=scopes)
    for kind, amount in FIRST_LIMITS.items():
        Limit.put(kind, amount, key_id=key.pk)
    _token, join_token = JoinToken.issue(
        is_reusable=True, note=TOKEN_NOTE, created_by=operator
    )
    credentials = Credentials(
        username=operator.username,
        password=password,
        api_key=api_key,
        join_token=join_token,
        **addresses.fields(),
    )
    credentials.write()
    return credentials


def write_private(path: Path, text: str) -> None:
    """Replace the file by one with this text and mode 0600, whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
