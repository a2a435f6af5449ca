"""An answer's row: drafted while it is generated, settled at the end, read meanwhile.

Every function here uses the ORM: from the event loop, call it through `in_database`.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Substr
from django.utils.timezone import now

from chat.models import Message

State = Message.State


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended; what the engine never said is None."""

    state: Message.State
    error: str = ""
    error_code: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ttft_seconds: float | None = None
    duration_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What other web processes ask of the one that writes an answer."""

    is_stop_requested: bool
    is_attended: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What a row holds from some character on, and whether more will come."""

    text: str
    is_streaming: bool


@transaction.atomic
def write_drafts(drafts: dict[uuid.UUID, str]) -> dict[uuid.UUID, Wishes]:
    """Write the texts so far as one transaction; what is wished of each answer.

    Two queries. An answer that is settled stays as it is,
    and a row that is gone (its conversation deleted) is wished to stop.
    """
    _update_drafts(drafts)
    wishes = dict.fromkeys(drafts, Wishes(is_stop_requested=True, is_attended=False))
    rows = Message.objects.filter(pk__in=drafts)
    for pk, stop_at, attended_at in rows.values_list(
        "pk", "stop_requested_at", "attended_at"
    ):
        wishes[pk] = Wishes(stop_at is not None, is_attended(attended_at))
    return wishes


def _update_drafts(drafts: dict[uuid.UUID, str]) -> None:
    """One statement for all of them: the ORM's update takes ten times as long."""
    table = connection.ops.quote_name(Message._meta.db_table)
    fields = {field.name: field for field in Message._meta.concrete_fields}
    key, written_at = fields["id"], fields["written_at"]
    moment = written_at.get_db_prep_save(now(), connection)
    rows = [
        (content, moment, key.get_db_prep_save(message_id, connection), State.STREAMING)
        for message_id, content in drafts.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {table} SET content = %s, written_at = %s"  # noqa: S608
            " WHERE id = %s AND state = %s",
            rows,
        )


def is_attended(attended_at: datetime | None) -> bool:
    return attended_at is not None and now() - attended_at < settings.CHAT_UNATTENDED


def settle(message_id: uuid.UUID, content: str, ending: Ending) -> None:
    """Write the whole text and how it ended."""
    Message.objects.filter(pk=message_id).update(
        content=content,
        written_at=now(),
        state=ending.state,
        error=ending.error,
        error_code=ending.error_code,
        finish_reason=ending.finish_reason,
        prompt_tokens=ending.prompt_tokens,
        completion_tokens=ending.completion_tokens,
        ttft_seconds=ending.ttft_seconds,
        duration_seconds=ending.duration_seconds,
    )


def read_progress(message_id: uuid.UUID, at: int) -> Progress:
    """The row's text from character `at` on; a row that is gone has ended.

    Settles the answer first if its process has gone silent; else nothing is written.
    """
    rows = Message.objects.filter(pk=message_id)
    progress = rows.annotate(rest=Substr("content", at + 1))
    found = progress.values_list("rest", "state", "written_at").first()
    if found is None:
        return Progress("", is_streaming=False)
    text, state, written_at = found
    row = Message(state=state, written_at=written_at)
    if row.is_silent:
        rows.settle_interrupted()
    return Progress(text, row.is_streaming and not row.is_silent)


def attend(message_id: uuid.UUID) -> None:
    """Let the process that writes this answer know that somebody follows it here."""
    Message.objects.streaming().filter(pk=message_id).update(attended_at=now())
