"""`manage.py import_keys`: take over keys that were made elsewhere."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from controller.identity.imports import import_keys
from controller.management import arguments
from controller.models import User


class Command(BaseCommand):
    help = (
        "Take over a list of API keys, such as FastChat's --api-keys: their holders go"
        " on as they are. Keys that are there already stay as they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file",
            help="Keys with commas or one a line, or as a JSON list; - reads them from"
            " the standard input.",
        )
        parser.add_argument("--user", required=True, help="Their owner's username.")
        parser.add_argument(
            "--name", default="imported", help="Their names: this with a number."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        keys = arguments.key_list(options["file"], _text(options["file"]))
        imported = import_keys(user, keys, options["name"])
        self.stdout.write(self.style.SUCCESS(f"API keys of {user}: {imported}"))


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    return arguments.text_of(Path(file))
