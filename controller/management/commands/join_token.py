"""`manage.py join_token`: a new join token, printed once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import now

from controller.management import arguments
from controller.models import JoinToken


class Command(BaseCommand):
    help = "Print a new join token, the last word of the output. It is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--reusable", action="store_true", help="Any number of workers may use it."
        )
        parser.add_argument(
            "--expires",
            type=arguments.duration,
            metavar="1h",
            help="It ends after this time; without, only by use or revocation.",
        )
        parser.add_argument(
            "--keyless",
            action="store_true",
            help="Its worker's engine may answer without a key.",
        )
        parser.add_argument(
            "--networks",
            type=arguments.networks,
            default=[],
            metavar="10.0.0.0/8,...",
            help="The worker's address must lie in one of these.",
        )
        parser.add_argument("--note", default="", help="What it is for.")

    def handle(self, *args: Any, **options: Any) -> None:
        expires = options["expires"]
        _, secret = JoinToken.issue(
            is_reusable=options["reusable"],
            is_keyless=options["keyless"],
            networks=options["networks"],
            note=options["note"],
            expires_at=now() + expires if expires else None,
        )
        kind = "reusable" if options["reusable"] else "one-time"
        self.stdout.write(f"New {kind} join token, shown once: {secret}")
