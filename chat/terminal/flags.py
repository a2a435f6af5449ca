"""Flags that chatting and measuring share. There is none for the key itself: other
people on a machine see command lines."""

import argparse
import math
from pathlib import Path

from chat.terminal.places import BASE_VARIABLE, DEFAULT_BASE, KEY_VARIABLE


def add_place_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--api-base",
        metavar="URL",
        help=f"the API's address (default: {BASE_VARIABLE}, then var/credentials.json"
        f" in this folder, then {DEFAULT_BASE})",
    )
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help=f"a file with the key (default: {KEY_VARIABLE}, then, for a server on this"
        " machine, var/credentials.json)",
    )


def seconds(written: str) -> float:
    value = float(written)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{written} is not above 0")
    return value


class Bounded:
    """Reads a whole number from 1 to a maximum."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum

    def __call__(self, written: str) -> int:
        value = int(written)
        if not 1 <= value <= self._maximum:
            raise argparse.ArgumentTypeError(
                f"{written} is not from 1 to {self._maximum}"
            )
        return value

    __name__ = "whole number"  # what argparse calls it in "invalid ... value"
