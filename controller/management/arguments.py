"""Kinds of arguments that several commands take."""

import json
from argparse import ArgumentTypeError
from datetime import timedelta
from pathlib import Path

from django.core.management.base import CommandError

from controller.addresses import parse_networks
from controller.durations import parse_duration
from controller.identity.imports import read_key_list
from controller.identity.origins import parse_pattern
from controller.models.limits import MAX_COUNT

MAX_INTEGER = 2**31 - 1  # what columns of whole numbers hold


def duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise ArgumentTypeError(str(exc)) from exc


def networks(text: str) -> list[str]:
    try:
        return parse_networks(text)
    except ValueError as exc:
        raise ArgumentTypeError(str(exc)) from exc


def names(text: str) -> list[str]:
    """The comma-separated names, stripped; empty ones are dropped."""
    return [name.strip() for name in text.split(",") if name.strip()]


def names_or_json(text: str) -> list[str]:
    """The names of a list with commas, or of one in JSON, as FastChat took them."""
    if not text.lstrip().startswith("["):
        return names(text)
    try:
        items = json.loads(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r} is no JSON list: {exc}.") from exc
    if not all(isinstance(item, str) for item in items):
        raise ArgumentTypeError(f"{text!r} is no JSON list of texts.")
    return [item.strip() for item in items if item.strip()]


def origins(text: str) -> list[str]:
    try:
        return [parse_pattern(name) for name in names(text)]
    except ValueError as exc:
        raise ArgumentTypeError(str(exc)) from exc


def positive(text: str, most: int | None = None) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r}: write a whole number of at least 1.")
    if most is not None and int(text) > most:
        raise ArgumentTypeError(f"{text!r}: at most {most:,}.")
    return int(text)


def small(text: str) -> int:
    """As a column of whole numbers takes it."""
    return positive(text, MAX_INTEGER)


def amount(text: str) -> int:
    """Of a limit that counts requests or tokens."""
    return positive(text, MAX_COUNT)


def text_of(path: Path) -> str:
    """The file's text. Raises `CommandError` where there is none."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"{path} cannot be read as text: {exc}.") from exc


def key_list(name: str, text: str) -> list[str]:
    """The API keys of the text from the file of this name. Raises `CommandError`."""
    try:
        return read_key_list(text)
    except ValueError as exc:
        raise CommandError(f"{name}: {exc}") from exc
