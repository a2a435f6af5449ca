"""The ledger as a file: CSV or JSON lines, sent as it is read."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from channels.db import database_sync_to_async
from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse

from controller.models import LedgerEntry
from controller.prices import NANOS

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
# What a spreadsheet would take for a formula; some of these texts are clients' own.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = list[Any]


def export_response(entries: QuerySet[LedgerEntry], kind: str) -> StreamingHttpResponse:
    """The entries, oldest first, as a download; `kind` is one of `KINDS`."""
    content_type, lines_of = KINDS[kind]
    response = StreamingHttpResponse(_blocks(entries, lines_of), content_type)
    response["Content-Disposition"] = f'attachment; filename="usage.{kind}"'
    response["Cache-Control"] = "no-store"
    return response


async def _blocks(
    entries: QuerySet[LedgerEntry], lines_of: Callable[[list[Row], bool], bytes]
) -> AsyncIterator[bytes]:
    """A block for each batch: one short query, so that no transaction stays open while
    a slow client reads."""
    read = database_sync_to_async(_rows_after)
    last: tuple[datetime, int] | None = None
    while True:
        batch = await read(entries, last)
        rows = [_shown(values) for _pk, *values in batch]
        yield lines_of(rows, last is None)
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


def _csv(rows: list[Row], is_first: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    if is_first:
        writer.writerow(NAMES)
    writer.writerows(map(_plain, rows))
    return text.getvalue().encode()


def _plain(row: Row) -> Iterator[Any]:
    """The row without anything that a spreadsheet would run."""
    for value in row:
        is_formula = isinstance(value, str) and value.startswith(FORMULA)
        yield f"'{value}" if is_formula else value


def _json_lines(rows: list[Row], _is_first: bool) -> bytes:
    objects = (dict(zip(NAMES, row, strict=True)) for row in rows)
    return b"".join(msgspec.json.encode(each) + b"\n" for each in objects)


KINDS: dict[str, tuple[str, Callable[[list[Row], bool], bytes]]] = {
    "csv": ("text/csv; charset=utf-8", _csv),
    "jsonl": ("application/jsonl; charset=utf-8", _json_lines),
}
