"""`serve --share`: a guest link at the start, for those who know it from Gradio."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from controller.guests.links import FIRST_LIMITS, make_link, path_of
from controller.management import arguments
from controller.models import GuestLink
from controller.serving.options import ServeOptions

NOTE = "serve --share"


def invitation(link: GuestLink, secret: str, site: str) -> str:
    """A line whose last word is the address that a guest opens."""
    # Outside a web process the path comes without the prefix.
    address = f"{site}{settings.ROOT_PATH}{path_of(secret)}"
    return f"For guests until {_moment(link)}: {address}"


def _moment(link: GuestLink) -> str:
    return f"{link.expires_at:%Y-%m-%d %H:%M} UTC"


def add_share(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--share",
        type=arguments.positive,
        nargs="?",
        const=settings.GUEST_LINK_HOURS,
        default=settings.SHARE_HOURS or None,
        metavar="HOURS",
        help="print a link by which anybody who reaches this site chats as a guest, for"
        f" so many hours (without a number {settings.GUEST_LINK_HOURS}); no tunnel",
    )


def write_share(
    flags: dict[str, Any], options: ServeOptions, say: Callable[[str], Any]
) -> None:
    """Print a new guest link, unless that of an earlier start is open still: whoever
    has it goes on. Raises `CommandError`."""
    if not flags["share"]:
        return
    if "chat" not in settings.SERVED_ROLES:
        raise CommandError("--share: guests chat, and --roles leaves the chat out.")
    known = GuestLink.objects.open().filter(note=NOTE).first()
    if known is not None:
        say(
            f"The guest link of an earlier start ({known.prefix}…) is open until"
            f" {_moment(known)}. It cannot be shown again:"
            " `python manage.py guest_link` makes another."
        )
        return
    try:
        link, secret = make_link(
            note=NOTE,
            expires_at=GuestLink.end_after(flags["share"]),
            limits=FIRST_LIMITS,
        )
    except ValidationError as exc:
        raise CommandError(f"--share: {exc.messages[0]}") from exc
    say(invitation(link, secret, settings.PUBLIC_URL or options.url))
    if options.is_loopback and not settings.PUBLIC_URL:
        say("It opens on this machine only: --host 0.0.0.0 or a proxy lets others in.")
