"""`manage.py import_endpoints`: FastChat's file of API endpoints becomes workers."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from controller.bootstrap import write_private
from controller.fleet.addresses import resolve
from controller.fleet.errors import WorkerRefused
from controller.fleet.fastchat_endpoints import (
    Imported,
    is_foreign,
    read_fastchat_endpoints,
)
from controller.identity import secrets
from controller.models import JoinToken, Revision, ServedModel
from workers.protocol import RefusalCode

NOTE = "imported endpoints"
KEYLESS_NOTE = f"{NOTE} without keys"


class Command(BaseCommand):
    help = (
        "Turn FastChat's --register-api-endpoint-file into one for"
        " `python -m workers.api_worker --endpoints`, with join tokens beside it. The"
        " file holds the providers' keys: it is readable by its owner alone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--skip-unusable",
            action="store_true",
            help="Leave out entries that cannot be served, instead of writing nothing.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            imported = read_fastchat_endpoints(options["file"].read_bytes(), os.environ)
        except OSError as exc:
            raise CommandError(f"{options['file']}: {exc.strerror}.") from exc
        except ValueError as exc:
            raise CommandError(f"{options['file']}: {exc}") from exc
        self._tell_problems(imported, options["skip_unusable"])
        for note in (*imported.notes, *_outside_of_the_allowed(imported)):
            self.stderr.write(self.style.WARNING(note))
        with transaction.atomic():
            written = _write(imported)
            _hide(imported.hidden)
        num_models = sum(len(each["models"]) for each in imported.endpoints)
        self.stdout.write(
            self.style.SUCCESS(
                f"{num_models} model(s) of {len(imported.endpoints)} endpoint(s) are in"
                f" {written}."
            )
        )
        if imported.hidden:
            hidden = ", ".join(imported.hidden)
            self.stdout.write(f"Disabled in the admin, being anony_only: {hidden}.")
        self.stdout.write(
            "Serve them by one process:\n"
            f"  python -m workers.api_worker --endpoints {written}"
        )

    def _tell_problems(self, imported: Imported, skip_unusable: bool) -> None:
        """Raise `CommandError` unless what remains may be written."""
        if not imported.problems:
            if not imported.endpoints:
                raise CommandError("The file holds no endpoint.")
            return
        listed = "\n".join(f"  {problem}" for problem in imported.problems)
        if not skip_unusable:
            raise CommandError(
                f"Nothing was written. These entries cannot be served:\n{listed}\n"
                "--skip-unusable leaves them out."
            )
        if not imported.endpoints:
            raise CommandError(f"No entry can be served:\n{listed}")
        self.stderr.write(self.style.WARNING(f"Left out:\n{listed}"))


def _outside_of_the_allowed(imported: Imported) -> list[str]:
    """What would be refused at the join, said now: most providers live outside of the
    networks that are allowed by default. Those with an API of their own are called by
    their worker, which is inside."""
    notes = []
    called = {each["upstream"] for each in imported.endpoints if not is_foreign(each)}
    for upstream in sorted(called):
        parts = urlsplit(upstream)
        address = f"{parts.scheme}://{parts.netloc}"
        try:
            async_to_sync(resolve)(address, settings.ALLOWED_WORKER_NETWORKS)
        except WorkerRefused as refused:
            repair = ""
            if refused.code == RefusalCode.ADDRESS_NOT_ALLOWED:
                repair = (
                    " Add its network to ALLOWED_WORKER_NETWORKS before serving it."
                )
            notes.append(refused.message + repair)
    return notes


def _write(imported: Imported) -> Path:
    """Write the endpoints and the join tokens that they need; return the file."""
    folder = Path(settings.VAR_DIR).absolute() / "endpoints"
    folder.mkdir(mode=0o700, exist_ok=True)
    for endpoint in imported.endpoints:
        is_keyless = "key" not in endpoint
        token_file = _token_file(folder, is_keyless=is_keyless)
        endpoint["join_token_file"] = str(token_file)
    file = folder / "endpoints.json"
    content = msgspec.json.encode({"endpoints": imported.endpoints})
    write_private(file, msgspec.json.format(content, indent=2).decode() + "\n")
    return file


def _token_file(folder: Path, *, is_keyless: bool) -> Path:
    """A file with a usable join token; one that is there already is kept."""
    file = folder / ("keyless_join_token" if is_keyless else "join_token")
    try:
        digest = secrets.digest(file.read_text().strip())
    except OSError:
        digest = ""
    if not JoinToken.objects.usable().filter(digest=digest).exists():
        _token, secret = JoinToken.issue(
            is_reusable=True,
            is_keyless=is_keyless,
            note=KEYLESS_NOTE if is_keyless else NOTE,
        )
        write_private(file, secret + "\n")
    return file


def _hide(names: list[str]) -> None:
    """Have the models in the admin, disabled; what is there already stays as it is."""
    Revision.bump("fleet")
    for name in names:
        ServedModel.objects.get_or_create(name=name, defaults={"is_enabled": False})
