"""Kinds of arguments that several commands take."""

import json
from argparse import ArgumentTypeError
from datetime import timedelta

from controller.addresses import parse_networks
from controller.durations import parse_duration


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
