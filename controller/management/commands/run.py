"""`manage.py run`: the whole product on this machine, until Ctrl-C."""

import asyncio
import sys
from argparse import ArgumentParser
from io import TextIOWrapper
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from config import env
from controller import bootstrap
from controller.bootstrap import Credentials
from controller.standalone import console
from controller.standalone.place import (
    ENGINES,
    CannotRun,
    Place,
    add_address_arguments,
    engine,
    only_one,
)
from controller.standalone.run import run


class Command(BaseCommand):
    help = "Start web, task worker and one model worker; print addresses and keys."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_address_arguments(parser)
        parser.add_argument(
            "--engine", type=engine, default=env.text("ENGINE", ENGINES[0])
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            # A terminal that cannot show some character must not end the product.
            sys.stdout.reconfigure(errors="replace")
        place = Place(options["host"], options["port"], options["engine"])
        try:
            with only_one(place):
                credentials = prepare(place)
                asyncio.run(run(place, credentials))
        except CannotRun as exc:
            raise CommandError(str(exc)) from exc


def prepare(place: Place) -> Credentials | None:
    """The database, migrated, and what `bootstrap` makes in it."""
    console.show(console.OURS, "preparing the database")
    try:
        call_command("migrate", verbosity=0)
        return bootstrap.bootstrap(place.addresses)
    except (OperationalError, OSError) as exc:
        reason = " ".join(str(exc).split())
        raise CannotRun(
            f"The data in {settings.VAR_DIR} cannot be prepared ({reason}): is the disk"
            " full, the folder another user's, or the database of DATABASE_URL down?"
        ) from exc
    finally:
        connections.close_all()
