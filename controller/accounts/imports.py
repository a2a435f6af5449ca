"""Accounts taken over from FastChat's `--gradio-auth-path`: `user:password` pairs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import transaction

from controller.models import Team, User

# Shorter ones are guessed; FastChat asked for none at all.
WEAK_LENGTH = 8


@dataclass(slots=True)
class ImportedAccounts:
    taken: list[str] = field(default_factory=list)
    weak: list[str] = field(default_factory=list)
    """Of those taken, whose password is short."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(name, or the pair's number where it has none; reason)"""


def read_pairs(text: str) -> Iterator[tuple[int, str, str]]:
    """(number, username, password) of each pair: FastChat parts them by commas, others
    write one a line. A password may hold colons, which broke FastChat's own reader."""
    pairs = (pair.strip() for pair in text.replace("\n", ",").split(","))
    for number, pair in enumerate(filter(None, pairs), start=1):
        name, _colon, password = pair.partition(":")
        yield number, User.normalize_username(name.strip()), password


def import_accounts(text: str, team: Team | None = None) -> ImportedAccounts:
    """What became of each pair. Passwords are hashed; accounts that are there already
    stay as they are, password and all. The new ones join `team` as members."""
    pairs = list(read_pairs(text))
    # Before the transaction: each takes a good part of a second, in which nobody else
    # could write to SQLite.
    hashed = {
        number: make_password(password)
        for number, name, password in pairs
        if not _reason_against(name, password)
    }
    with transaction.atomic():
        return _import(pairs, hashed, team)


def _import(
    pairs: Iterable[tuple[int, str, str]], hashed: dict[int, str], team: Team | None
) -> ImportedAccounts:
    imported = ImportedAccounts()
    for number, name, password in pairs:
        if reason := _reason_against(name, password):
            imported.skipped.append((name or f"number {number}", reason))
            continue
        user = User(username=name)
        # Without a hash: of an account that went while others' were made.
        user.password = hashed.get(number) or make_password(password)
        user.save()
        if team is not None:
            team.memberships.create(user=user)
        imported.taken.append(name)
        if len(password) < WEAK_LENGTH:
            imported.weak.append(name)
    return imported


def _reason_against(name: str, password: str) -> str:
    """Why this pair makes no account; empty if it does. Never the password itself."""
    if not name or not password:
        return "it is not user:password"
    try:
        User.username_validator(name)
        User._meta.get_field("username").run_validators(name)
    except ValidationError as exc:
        return " ".join(exc.messages).rstrip(".")
    if User.objects.filter(username__iexact=name).exists():
        return "an account of this name is there already"
    return ""
