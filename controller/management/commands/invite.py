"""`manage.py invite`: a link by which one person makes an account."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.utils.timezone import now

from controller.accounts.invitations import invitation_path
from controller.management import arguments
from controller.models import Invitation


class Command(BaseCommand):
    help = "Print a sign-up link, the last word of the output. It is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--email", default="", help="The account must have this address."
        )
        parser.add_argument(
            "--expires",
            type=arguments.duration,
            default="7d",
            metavar="7d",
            help="It ends after this time; default: 7d.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["email"]:
            try:
                validate_email(options["email"])
            except ValidationError as exc:
                raise CommandError(f"--email: {exc.messages[0]}") from exc
        if settings.SIGN_UP == "closed":
            self.stderr.write(
                self.style.WARNING(
                    "SIGN_UP is closed: the link works only once that is changed."
                )
            )
        _, secret = Invitation.issue(
            email=options["email"], expires_at=now() + options["expires"]
        )
        # Outside a web process the path comes without the prefix.
        site = (settings.PUBLIC_URL or "http://localhost:8000") + settings.ROOT_PATH
        self.stdout.write(f"One account, shown once: {site}{invitation_path(secret)}")
