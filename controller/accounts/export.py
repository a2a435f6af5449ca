"""Everything about one account, as a ZIP of JSON lines that its owner takes home."""

import io
import json
import tempfile
import zipfile
from collections.abc import Iterable
from typing import IO, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from controller.accounts.belongings import Belongings, belongings_of, visible_fields
from controller.models import LedgerEntry, UsageDay, User

# Held in memory; larger exports go to a file without a name.
MAX_MEMORY = 8 * 2**20
BATCH_SIZE = 1_000
README = """\
One file for each kind of row, one JSON object a line. Passwords and the secrets of keys
and second factors are not in here.

controller.user           the account
controller.apikey         API keys, without their secrets
chat.conversation         conversations
chat.message              messages, yours and the answers
usage                     your requests, by day and model
requests                  each request that is still kept, without its text
files/                    what you uploaded
"""


def export_account(user: User) -> IO[bytes]:
    """The open file, at its beginning; the caller closes it. One query for each kind
    of row and batch."""
    file = tempfile.SpooledTemporaryFile(MAX_MEMORY)  # noqa: SIM115  # the caller's
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", README)
        for own in belongings_of(user):
            _write(archive, own)
        _write(
            archive, Belongings(UsageDay, UsageDay.objects.filter(user=user)), "usage"
        )
        requests = LedgerEntry.objects.filter(user=user).order_by("pk")
        _write(archive, Belongings(LedgerEntry, requests), "requests")
    file.seek(0)
    return file


def _write(archive: zipfile.ZipFile, own: Belongings, name: str = "") -> None:
    """One member with these rows, and one for each file that a row names."""
    fields = list(visible_fields(own.model))
    rows = own.rows.order_by("pk")
    member = archive.open(f"{name or own.name}.jsonl", "w")
    with member, io.TextIOWrapper(member, "utf-8") as lines:
        for row in rows.iterator(BATCH_SIZE):
            values = {field.name: _shown(field, row) for field in fields}
            lines.write(json.dumps(values, cls=DjangoJSONEncoder, ensure_ascii=False))
            lines.write("\n")
    files = [field for field in fields if isinstance(field, models.FileField)]
    _add_files(archive, rows, files)


def _shown(field: "models.Field[Any, Any]", row: models.Model) -> Any:
    value = field.value_from_object(row)
    return str(value) if isinstance(field, models.FileField) else value


def _add_files(
    archive: zipfile.ZipFile,
    rows: Iterable[models.Model],
    fields: list[models.FileField],
) -> None:
    if not fields:
        return
    for row in rows:
        for field in fields:
            stored = getattr(row, field.name)
            if stored and stored.storage.exists(stored.name):
                with stored.open("rb") as content:
                    archive.writestr(f"files/{stored.name}", content.read())
