"""The audit log as a file: CSV or JSON lines, sent as it is read."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec
from auditlog.models import LogEntry
from channels.db import database_sync_to_async
from django.db.models import QuerySet
from django.http import StreamingHttpResponse

NAMES = (
    "time",
    "actor",
    "address",
    "action",
    "kind",
    "id",
    "what",
    "changes",
)
BATCH_SIZE = 1_000
# What a spreadsheet would take for a formula; some of these texts are people's own.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


def action_in_words(entry: LogEntry) -> str:
    """`create`, `update`, `delete`, or what happened instead, such as `signed in`."""
    event = (entry.additional_data or {}).get("event")
    return event or str(entry.get_action_display())


def export_response(entries: QuerySet[LogEntry], kind: str) -> StreamingHttpResponse:
    """The entries, oldest first, as a download; `kind` is one of `KINDS`."""
    content_type, lines_of = KINDS[kind]
    response = StreamingHttpResponse(_blocks(entries, lines_of), content_type)
    response["Content-Disposition"] = f'attachment; filename="audit.{kind}"'
    response["Cache-Control"] = "no-store"
    return response


async def _blocks(
    entries: QuerySet[LogEntry], lines_of: Callable[[list[Row], bool], bytes]
) -> AsyncIterator[bytes]:
    """A block for each batch: one short query, so that no transaction stays open while
    a slow client reads."""
    read = database_sync_to_async(_rows_after)
    last = 0
    while True:
        batch = await read(entries, last)
        yield lines_of([_fields(entry) for entry in batch], last == 0)
        if len(batch) < BATCH_SIZE:
            return
        last = batch[-1].pk


def _rows_after(entries: QuerySet[LogEntry], last: int) -> list[LogEntry]:
    later = entries.filter(pk__gt=last).select_related("actor", "content_type")
    return list(later.order_by("pk")[:BATCH_SIZE])


def _fields(entry: LogEntry) -> Row:
    values = (
        entry.timestamp.isoformat(),
        entry.actor.get_username() if entry.actor else None,
        entry.remote_addr,
        action_in_words(entry),
        entry.content_type.model,
        entry.object_pk,
        entry.object_repr,
        entry.changes or {},
    )
    return dict(zip(NAMES, values, strict=True))


def _csv(rows: Iterable[Row], is_first: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    if is_first:
        writer.writerow(NAMES)
    for row in rows:
        changes = msgspec.json.encode(row["changes"]).decode()
        writer.writerow(map(_plain, (row | {"changes": changes}).values()))
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    """The value without anything that a spreadsheet would run."""
    is_formula = isinstance(value, str) and value.startswith(FORMULA)
    return f"'{value}" if is_formula else value


def _json_lines(rows: Iterable[Row], _is_first: bool) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


KINDS: dict[str, tuple[str, Callable[[list[Row], bool], bytes]]] = {
    "csv": ("text/csv; charset=utf-8", _csv),
    "jsonl": ("application/jsonl; charset=utf-8", _json_lines),
}
