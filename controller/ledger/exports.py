"""The ledger as a file: CSV or JSON lines, sent as it is read."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from channels.db import database_sync_to_async
from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse

from controller.models import LedgerEntry
from controller.prices import NANOS
from controller.tables import Row, table_response

# (name in the file, path from the entry)
COLUMNS = (
    ("time", "created_at"),
    ("request_id", "request_id"),
    ("client_request_id", "client_request_id"),
    ("face", "face"),
    ("endpoint", "endpoint"),
    ("user", "user__username"),
    ("key", "key__name"),
    ("team", "team__name"),
    ("model", "model"),
    ("stream", "stream"),
    ("status", "status"),
    ("error_code", "error_code"),
    ("finish_reason", "finish_reason"),
    ("prompt_tokens", "prompt_tokens"),
    ("cached_tokens", "cached_tokens"),
    ("completion_tokens", "completion_tokens"),
    ("tokens_estimated", "tokens_estimated"),
    ("cost", "cost_nanos"),
    ("num_retries", "num_retries"),
    ("queued_seconds", "queued_seconds"),
    ("ttft_seconds", "ttft_seconds"),
    ("duration_seconds", "duration_seconds"),
)
NAMES = [name for name, _path in COLUMNS]
PATHS = ["pk", *(path for _name, path in COLUMNS)]
TIME, COST = NAMES.index("time"), NAMES.index("cost")
BATCH_SIZE = 2_000


def export_response(entries: QuerySet[LedgerEntry], kind: str) -> StreamingHttpResponse:
    """The entries, oldest first, as a download; `kind` is csv or jsonl."""
    return table_response("usage", NAMES, _batches(entries), kind)


async def _batches(entries: QuerySet[LedgerEntry]) -> AsyncIterator[list[Row]]:
    """One short query for each, so that no transaction stays open while a slow client
    reads."""
    read = database_sync_to_async(_rows_after)
    last: tuple[datetime, int] | None = None
    while True:
        batch = await read(entries, last)
        yield [_shown(values) for _pk, *values in batch]
        if len(batch) < BATCH_SIZE:
            return
        last = (batch[-1][1], batch[-1][0])


def _rows_after(
    entries: QuerySet[LedgerEntry], last: tuple[datetime, int] | None
) -> list[Any]:
    if last is not None:
        moment, pk = last
        is_later = Q(created_at__gt=moment) | Q(created_at=moment, pk__gt=pk)
        entries = entries.filter(is_later, created_at__gte=moment)
    ordered = entries.order_by("created_at", "pk")
    return list(ordered.values_list(*PATHS)[:BATCH_SIZE])


def _shown(values: list[Any]) -> Row:
    values[TIME] = values[TIME].isoformat()
    values[COST] = values[COST] / NANOS
    return values
