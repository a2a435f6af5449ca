"""`manage.py revoke_key`: refuse an API key everywhere, for good."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from controller.identity import secrets
from controller.models import ApiKey

MAX_LISTED = 10


class Command(BaseCommand):
    help = "Revoke the API key that begins so; web processes refuse it within a second."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "prefix", help="Its beginning, as the console lists it, or all of it."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # A whole key works too: who has one that leaked need not count letters.
        prefix = secrets.longest_shown(options["prefix"])
        found = list(
            ApiKey.objects.beginning_with(options["prefix"]).select_related("user")[
                : MAX_LISTED + 1
            ]
        )
        if not found:
            raise CommandError(f"No API key begins with {prefix!r}.")
        if len(found) > 1:
            listed = ", ".join(f"{key} of {key.user}" for key in found[:MAX_LISTED])
            raise CommandError(f"More than one key begins with {prefix!r}: {listed}.")
        [key] = found
        if key.revoked_at:
            self.stdout.write(f"{key} of {key.user} was revoked already.")
            return
        key.revoke()
        self.stdout.write(self.style.SUCCESS(f"Revoked {key} of {key.user}."))
