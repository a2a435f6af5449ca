"""Kinds of arguments that several commands take."""

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
