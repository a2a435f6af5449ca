"""`manage.py create_key`: a new API key, printed once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from controller.management import arguments
from controller.models import ApiKey, User


class Command(BaseCommand):
    help = "Print a new API key, the last word of the output. It is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, help="Its owner's username.")
        parser.add_argument("--name", required=True, help="What it is for.")
        parser.add_argument(
            "--models",
            type=arguments.names,
            metavar="A,B",
            help="Allowed models; without, every model.",
        )
        parser.add_argument(
            "--scopes",
            type=arguments.names,
            default=[ApiKey.Scope.INFERENCE.value],
            help=f"Any of {','.join(ApiKey.Scope.values)}; default: inference.",
        )
        parser.add_argument(
            "--expires",
            type=arguments.duration,
            metavar="1d",
            help="It ends after this time; without, only by revocation.",
        )
        parser.add_argument(
            "--concurrent", type=int, metavar="N", help="Requests at once."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        if unknown := set(options["scopes"]) - set(ApiKey.Scope.values):
            raise CommandError(
                f"No such scope: {', '.join(sorted(unknown))}."
                f" Scopes are {', '.join(ApiKey.Scope.values)}."
            )
        if options["concurrent"] is not None and options["concurrent"] < 1:
            raise CommandError("--concurrent must be at least 1.")
        expires = options["expires"]
        key, secret = ApiKey.issue(
            user,
            options["name"],
            scopes=options["scopes"],
            allowed_models=options["models"] or None,
            max_concurrent=options["concurrent"],
            expires_at=now() + expires if expires else None,
        )
        self.stdout.write(f"New API key {key.name!r} of {user}, shown once: {secret}")
