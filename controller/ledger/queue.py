"""Finished requests on their way into the ledger: queued, then written in batches."""

import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache, partial
from operator import attrgetter
from uuid import UUID

from django.db import (
    DEFAULT_DB_ALIAS,
    DataError,
    IntegrityError,
    connections,
    transaction,
)
from django.db.backends.utils import CursorWrapper
from django.utils.timezone import now

from controller.models import LedgerEntry, LedgerHour
from controller.models.usage import hour_of
from controller.relay.explanation import Explanation

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class FinishedRequest:
    """What the ledger keeps of a request; the field names are `LedgerEntry`'s."""

    request_id: str
    client_request_id: str
    face: str
    endpoint: str
    user_id: int | None
    key_id: int | None
    team_id: int | None
    model: str
    worker_id: UUID | None
    stream: bool
    status: int
    error_code: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    tokens_estimated: bool
    num_retries: int
    num_moves: int
    ttft_seconds: float | None
    duration_seconds: float
    overhead_seconds: float
    queued_seconds: float | None
    cost_nanos: int = 0
    explanation: Explanation | None = None
    """Kept as it is, and made into JSON when the row is written."""
    created_at: datetime = field(default_factory=now)


# Reasons are a luxury: above so many rows, of a database that is away, they go first.
MAX_EXPLAINED = 10_000


class LedgerQueue:
    """At most `limit` finished requests; above it the newest are dropped and counted.

    That happens only when the database has not taken rows for as long as it takes to
    serve `limit` requests; `num_dropped` is a gauge to alert on.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queued: deque[FinishedRequest] = deque()
        self.num_dropped = 0

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, finished: FinishedRequest) -> None:
        if len(self._queued) >= self._limit:
            if not self.num_dropped:
                logger.error("ledger queue full: requests go unrecorded")
            self.num_dropped += 1
            return
        if len(self._queued) >= MAX_EXPLAINED:
            finished.explanation = None
        self._queued.append(finished)

    def take(self) -> list[FinishedRequest]:
        """All that are queued, oldest first; they are the caller's to write."""
        taken, self._queued = list(self._queued), deque()
        return taken

    def give_back(self, batch: list[FinishedRequest]) -> None:
        """Queue again, first in line, what could not be written."""
        self._queued.extendleft(reversed(batch))
        while len(self._queued) > self._limit:
            self._queued.pop()
            self.num_dropped += 1


# What the database says of a value, not of its own state: trying again is no use.
UNWRITABLE = (DataError, IntegrityError, OverflowError, ValueError)

COLUMNS = tuple(column.name for column in fields(FinishedRequest))
_row = attrgetter(*COLUMNS)
_WORKER, _CREATED = COLUMNS.index("worker_id"), COLUMNS.index("created_at")
_EXPLANATION = COLUMNS.index("explanation")


def write_batch(batch: Sequence[FinishedRequest]) -> None:
    """Insert the rows. A row that is there already stays: a repeat does no harm.

    One that the database can never take is left out and logged: it must not keep back
    the others for good.
    """
    try:
        _insert(batch)
    except UNWRITABLE:
        for finished in batch:
            try:
                _insert([finished])
            except UNWRITABLE:
                logger.exception("request %s goes unrecorded", finished.request_id)


def _insert(batch: Sequence[FinishedRequest]) -> None:
    """One statement for all rows, in one transaction.

    By hand, because `bulk_create` builds an object and a piece of SQL for each row:
    that was half of a request's CPU. The columns are read off the model.
    """
    if not batch:
        return
    meta = LedgerEntry._meta
    columns = {column.attname: column for column in meta.concrete_fields}
    worker, created = columns["worker_id"], columns["created_at"]
    # Not `connection`, which looks for itself at each use; and few workers have rows.
    database = connections[DEFAULT_DB_ALIAS]
    as_worker = cache(partial(worker.get_db_prep_save, connection=database))
    rows = []
    for finished in batch:
        row = list(_row(finished))
        row[_WORKER] = as_worker(row[_WORKER])
        row[_CREATED] = created.get_db_prep_save(row[_CREATED], database)
        row[_EXPLANATION] = _as_json(finished.explanation)
        rows.append(row)
    names = ", ".join(f'"{columns[name].column}"' for name in COLUMNS)
    places = ", ".join(["%s"] * len(COLUMNS))
    statement = (
        f'INSERT INTO "{meta.db_table}" ({names}) VALUES ({places})'  # noqa: S608
        " ON CONFLICT DO NOTHING"
    )
    with transaction.atomic(), database.cursor() as cursor:
        cursor.executemany(statement, rows)
        _count_hours(cursor, batch)


def _count_hours(cursor: CursorWrapper, batch: Sequence[FinishedRequest]) -> None:
    """Note in the same transaction which hours have new rows, for their roll-ups.

    Rows that were there already count too: that costs a roll-up, no more. In order, so
    that two processes never wait for each other.
    """
    counted = Counter(hour_of(finished.created_at) for finished in batch)
    column = LedgerHour._meta.pk
    table = LedgerHour._meta.db_table
    cursor.executemany(
        f'INSERT INTO "{table}" (begins_at, num_written, num_rolled_up)'  # noqa: S608
        " VALUES (%s, %s, 0) ON CONFLICT (begins_at) DO UPDATE"
        f' SET num_written = "{table}".num_written + excluded.num_written',
        [
            (column.get_db_prep_save(hour, cursor.db), number)
            for hour, number in sorted(counted.items())
        ],
    )


def _as_json(explanation: Explanation | None) -> str | None:
    return None if explanation is None else explanation.as_json()
