"""`manage.py import_accounts`: take over FastChat's `user:password` file."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from controller.accounts.imports import import_accounts
from controller.management import arguments
from controller.models import Team


class Command(BaseCommand):
    help = (
        "Make accounts of a list user:password, such as FastChat's --gradio-auth-path."
        " Passwords are stored hashed; accounts that are there stay as they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file",
            help="Pairs with commas or one a line; - reads the standard input.",
        )
        parser.add_argument("--team", help="The team that the new accounts join.")

    def handle(self, *args: Any, **options: Any) -> None:
        team = None
        if options["team"]:
            team = Team.objects.filter(name=options["team"]).first()
            if team is None:
                raise CommandError(f"There is no team {options['team']!r}.")
        imported = import_accounts(_text(options["file"]), team)
        for name, reason in imported.skipped:
            self.stderr.write(self.style.WARNING(f"Skipped {name}: {reason}."))
        if imported.weak:
            self.stderr.write(
                self.style.WARNING(
                    f"Short passwords, to be changed soon: {', '.join(imported.weak)}."
                )
            )
        num_taken, num_skipped = len(imported.taken), len(imported.skipped)
        self.stdout.write(
            self.style.SUCCESS(f"{num_taken} accounts made, {num_skipped} skipped.")
        )


def _text(file: str) -> str:
    return sys.stdin.read() if file == "-" else arguments.text_of(Path(file))
