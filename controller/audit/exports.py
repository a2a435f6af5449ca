"""The audit log as a file: CSV or JSON lines, sent as it is read."""

from collections.abc import AsyncIterator

from auditlog.models import LogEntry
from channels.db import database_sync_to_async
from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from controller.tables import Row, table_response

COLUMNS = (
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


def action_in_words(entry: LogEntry) -> str:
    """`create`, `update`, `delete`, or what happened instead, such as `signed in`."""
    event = (entry.additional_data or {}).get("event")
    return event or str(entry.get_action_display())


def export_response(entries: QuerySet[LogEntry], kind: str) -> StreamingHttpResponse:
    """The entries, oldest first, as a download; `kind` is csv or jsonl."""
    return table_response("audit", COLUMNS, _batches(entries), kind)


async def _batches(entries: QuerySet[LogEntry]) -> AsyncIterator[list[Row]]:
    """One short query for each, so that no transaction stays open while a slow client
    reads."""
    read = database_sync_to_async(_rows_after)
    last = 0
    while True:
        batch = await read(entries, last)
        yield [_row(entry) for entry in batch]
        if len(batch) < BATCH_SIZE:
            return
        last = batch[-1].pk


def _rows_after(entries: QuerySet[LogEntry], last: int) -> list[LogEntry]:
    later = entries.filter(pk__gt=last).select_related("actor", "content_type")
    return list(later.order_by("pk")[:BATCH_SIZE])


def _row(entry: LogEntry) -> Row:
    return (
        entry.timestamp.isoformat(),
        entry.actor.get_username() if entry.actor else None,
        entry.remote_addr,
        action_in_words(entry),
        entry.content_type.model,
        entry.object_pk,
        entry.object_repr,
        entry.changes or {},
    )
