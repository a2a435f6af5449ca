"""`manage.py run`: the whole product on this machine, until Ctrl-C."""

import asyncio
import sys
from argparse import ArgumentParser
from io import TextIOWrapper
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from config import env
from controller import bootstrap
from controller.standalone import console
from controller.standalone.place import (
    ENGINES,
    CannotRun,
    Place,
    add_address_arguments,
    only_one,
)
from controller.standalone.run import run


class Command(BaseCommand):
    help = "Start web, task worker and one model worker; print addresses and keys."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_address_arguments(parser)
        parser.add_argument(
            "--engine",
            choices=ENGINES,
            default=env.choice("ENGINE", "transformers", ENGINES),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            # A terminal that cannot show some character must not end the product.
            sys.stdout.reconfigure(errors="replace")
        place = Place(options["host"], options["port"], options["engine"])
        try:
            with only_one(place):
                console.show(console.OURS, "preparing the database")
                call_command("migrate", verbosity=0)
                credentials = bootstrap.bootstrap(place.addresses)
                connections.close_all()
                asyncio.run(run(place, credentials))
        except CannotRun as exc:
            raise CommandError(str(exc)) from exc
