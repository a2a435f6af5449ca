"""`manage.py create_key`: a new API key, printed once."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils.timezone import now

from controller.management import arguments
from controller.models import ApiKey, Limit, User


class Flag(NamedTuple):
    """What a flag says about the key."""

    name: str
    field: str
    parse: Callable[[str], Any]
    metavar: str
    help: str


FLAGS = (
    Flag("--scopes", "scopes", arguments.names, "A,B",
         f"Any of {','.join(ApiKey.Scope.values)}; default: inference."),
    Flag("--models", "allowed_models", arguments.names, "A,B",
         "Allowed models; without, every model."),
    Flag("--endpoints", "allowed_endpoints", arguments.names, "A,B",
         "Allowed endpoints, such as /v1/embeddings; without, every one."),
    Flag("--networks", "allowed_networks", arguments.networks, "A,B",
         "Where clients may be, such as 10.0.0.0/8; without, anywhere."),
    Flag("--origins", "allowed_origins", arguments.origins, "A,B",
         "Whose web pages may use it, such as https://app.example.com."),
    Flag("--concurrent", "max_concurrent", arguments.small, "N",
         "Requests at once."),
)  # fmt: skip


LIMITS = (
    Flag("--rpm", Limit.Kind.REQUESTS_PER_MINUTE, arguments.amount, "N",
         "Requests per minute."),
    Flag("--tpm", Limit.Kind.TOKENS_PER_MINUTE, arguments.amount, "N",
         "Tokens per minute."),
    Flag("--tokens-per-day", Limit.Kind.TOKENS_PER_DAY, arguments.amount, "N",
         "A budget that begins anew at midnight, UTC."),
    Flag("--tokens-per-month", Limit.Kind.TOKENS_PER_MONTH, arguments.amount, "N",
         "A budget that begins anew on the first."),
)  # fmt: skip


class Command(BaseCommand):
    help = "Print a new API key, the last word of the output. It is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, help="Its owner's username.")
        parser.add_argument("--name", required=True, help="What it is for.")
        parser.add_argument(
            "--expires",
            type=arguments.duration,
            metavar="1d",
            help="It ends after this time; without, only by revocation.",
        )
        parser.add_argument(
            "--publishable",
            action="store_true",
            help="A key for scripts in browsers, bound to its --origins.",
        )
        for flag in FLAGS + LIMITS:
            parser.add_argument(
                flag.name,
                dest=flag.field,
                type=flag.parse,
                metavar=flag.metavar,
                help=flag.help,
            )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        fields = {
            flag.field: options[flag.field] for flag in FLAGS if options[flag.field]
        }
        check_known("scope", fields.get("scopes", ()), ApiKey.Scope.values)
        check_known(
            "endpoint", fields.get("allowed_endpoints", ()), ApiKey.Endpoint.values
        )
        if options["expires"]:
            fields["expires_at"] = now() + options["expires"]
        fields["is_publishable"] = options["publishable"]
        limits = {
            flag.field: options[flag.field] for flag in LIMITS if options[flag.field]
        }
        try:
            name = ApiKey._meta.get_field("name").clean(options["name"], None)
            key, secret = issue(user, name, fields, limits)
        except ValidationError as exc:
            raise CommandError(" ".join(exc.messages)) from exc
        self.stdout.write(f"New API key {key.name!r} of {user}, shown once: {secret}")


@transaction.atomic
def issue(
    user: User, name: str, fields: dict[str, Any], limits: dict[str, int]
) -> tuple[ApiKey, str]:
    """(the stored key, its secret): at no moment is it there without its limits."""
    key, secret = ApiKey.issue(user, name, **fields)
    for kind, amount in limits.items():
        Limit.put(kind, amount, key_id=key.pk)
    return key, secret


def check_known(kind: str, given: list[str], known: list[str]) -> None:
    if unknown := set(given) - set(known):
        raise CommandError(
            f"No such {kind}: {', '.join(sorted(unknown))}."
            f" There are {', '.join(known)}."
        )
