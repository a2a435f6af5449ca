"""Flags of FastChat's API server that are rows here: `serve` writes them once.

They are for those who move. What is there already stays as it is, so that the console
has the last word; both flags and rows are said in one line each.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from controller.management import arguments
from controller.models import AllowedOrigin
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


def write_first_rows(flags: dict[str, Any], say: Say) -> None:
    """Write what the flags name and is not there. Raises `CommandError`."""
    if flags["allowed_origins"]:
        _write_origins(flags, say)


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
