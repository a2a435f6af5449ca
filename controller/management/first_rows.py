"""Flags of FastChat's API server that are rows here: `serve` writes them once.

They are for those who move. What is there already stays as it is, so that the console
has the last word; both flags and rows are said in one line each.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from controller.identity.imports import import_keys
from controller.management import arguments
from controller.models import AllowedOrigin, User
from controller.models.origins import any_of_them

Say = Callable[[str], Any]


def add_first_rows(parser: ArgumentParser) -> None:
    """Lists are with commas or in JSON."""
    rows = parser.add_argument_group("rows that are written once")
    rows.add_argument(
        "--allowed-origins",
        type=arguments.names_or_json,
        default=[],
        metavar="A,B",
        help="sites whose pages may call /v1, such as https://*.example.com, or *",
    )
    for what in ("methods", "headers"):
        rows.add_argument(
            f"--allowed-{what}",
            type=arguments.names_or_json,
            default=any_of_them(),
            metavar="A,B",
            help=f"{what} that they may send; default: all",
        )
    rows.add_argument(
        "--allow-credentials",
        action="store_true",
        help="they may send cookies along; not with *",
    )
    rows.add_argument(
        "--api-keys-file",
        type=Path,
        metavar="FILE",
        help="API keys to take over, of the first operator (see import_keys)",
    )


def write_first_rows(flags: dict[str, Any], say: Say) -> None:
    """Write what the flags name and is not there. Raises `CommandError`."""
    if flags["allowed_origins"]:
        _write_origins(flags, say)
    if flags["api_keys_file"]:
        _write_keys(flags["api_keys_file"], say)


def _write_origins(flags: dict[str, Any], say: Say) -> None:
    asked: list[str] = flags["allowed_origins"]
    try:
        written = AllowedOrigin.write_missing(
            asked,
            methods=[method.upper() for method in flags["allowed_methods"]],
            headers=flags["allowed_headers"],
            allows_credentials=flags["allow_credentials"],
        )
    except ValidationError as exc:
        raise CommandError(f"--allowed-origins: {' '.join(exc.messages)}") from exc
    kept = [each for each in asked if each not in written]
    if written:
        say(f"Allowed origins written: {', '.join(written)}. {_HENCEFORTH}")
    if kept:
        say(f"Allowed origins left as the console has them: {', '.join(kept)}.")


_HENCEFORTH = "From now on the console is where they change: leave the flag out."


def _write_keys(path: Path, say: Say) -> None:
    owner = (
        User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    )
    if owner is None:
        raise CommandError(
            "--api-keys-file: there is no operator to own the keys."
            " Run `python manage.py bootstrap` first."
        )
    keys = arguments.key_list(str(path), arguments.text_of(path))
    say(f"{path}: {import_keys(owner, keys)} Owner: {owner}.")
