"""`manage.py guest_link`: a link by which people chat as guests, printed once."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from controller.guests.links import FIRST_LIMITS, make_link, revoke
from controller.management import arguments
from controller.management.share import invitation
from controller.models import GuestLink, Limit

MAX_LISTED = 10
RPM, TOKENS = Limit.Kind.REQUESTS_PER_MINUTE, Limit.Kind.TOKENS_PER_DAY

# By the field that it fills.
OPTIONS = {"expires_at": "--hours", "max_guests": "--guests", "note": "--note"}


class Command(BaseCommand):
    help = (
        "Print a guest link, the last word of the output. It is not shown again. It is"
        " no tunnel: guests must reach this site by themselves."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--hours",
            type=arguments.positive,
            default=settings.GUEST_LINK_HOURS,
            help=f"It ends after so many; default: {settings.GUEST_LINK_HOURS},"
            f" at most {settings.GUEST_LINK_MAX_HOURS}.",
        )
        parser.add_argument("--guests", type=arguments.small, help="How many at most.")
        parser.add_argument(
            "--models",
            type=arguments.names,
            metavar="A,B",
            help="What they may ask; without, every model that is for everybody.",
        )
        parser.add_argument(
            "--rpm",
            type=arguments.amount,
            default=FIRST_LIMITS[RPM],
            metavar="N",
            help="Requests per minute, of all its guests together; default:"
            f" {FIRST_LIMITS[RPM]}.",
        )
        parser.add_argument(
            "--tokens-per-day",
            type=arguments.amount,
            default=FIRST_LIMITS[TOKENS],
            metavar="N",
            help="A budget of all its guests together; default:"
            f" {FIRST_LIMITS[TOKENS]}.",
        )
        parser.add_argument("--note", default="", help="What it is for.")
        parser.add_argument(
            "--revoke",
            metavar="BEGINNING",
            help="End the link that begins so, and its guests' chats, instead.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["revoke"]:
            self._revoke(options["revoke"])
            return
        try:
            link, secret = make_link(
                note=options["note"],
                expires_at=GuestLink.end_after(options["hours"]),
                max_guests=options["guests"],
                allowed_models=options["models"],
                limits={RPM: options["rpm"], TOKENS: options["tokens_per_day"]},
            )
        except ValidationError as exc:
            raise CommandError(f"{_option(exc)}: {exc.messages[0]}") from exc
        site = settings.PUBLIC_URL or "http://localhost:8000"
        self.stdout.write(invitation(link, secret, site))

    def _revoke(self, beginning: str) -> None:
        links = GuestLink.objects.filter(revoked_at=None, prefix__startswith=beginning)
        found = list(links[: MAX_LISTED + 1])
        if len(found) != 1:
            listed = ", ".join(f"{link.prefix} {link.note}" for link in found)
            raise CommandError(
                f"More than one guest link begins with {beginning!r}: {listed}."
                if found
                else f"No guest link begins with {beginning!r}."
            )
        revoke(found[0])
        self.stdout.write(self.style.SUCCESS(f"Revoked {found[0]}."))


def _option(refusal: ValidationError) -> str:
    """What was refused, as it was written."""
    fields = getattr(refusal, "error_dict", {"expires_at": ()})
    return OPTIONS.get(next(iter(fields)), "--models")
