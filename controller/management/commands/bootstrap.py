"""`manage.py bootstrap`: the first operator, API key and join token."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from controller import bootstrap
from controller.standalone import console
from controller.standalone.place import Place, add_address_arguments


class Command(BaseCommand):
    help = (
        "Make the first operator, one API key and one join token, and write them to"
        " VAR_DIR/credentials.json. Changes nothing that exists."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_address_arguments(parser)
        parser.add_argument(
            "--renew",
            action="store_true",
            help="replace the first operator's password, key and join token",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        addresses = Place(options["host"], options["port"]).addresses
        if options["renew"]:
            bootstrap.renew(addresses)
            self.stdout.write(f"New credentials: {bootstrap.credentials_file()}")
        elif bootstrap.bootstrap(addresses):
            self.stdout.write(f"Credentials: {bootstrap.credentials_file()}")
        else:
            self.stdout.write("\n".join(console.lost_credentials()))
