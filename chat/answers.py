"""An answer's row: drafted while it is generated, settled at the end, read meanwhile.

Every function here uses the ORM: from the event loop, call it through `in_database`.
"""

import uuid
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Substr
from django.utils.timezone import now

from chat.models import Message
from chat.search import index_by_id

State = Message.State
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended; what the engine never said is None."""

    state: Message.State
    error: str = ""
    error_code: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_nanos: int | None = None
    ttft_seconds: float | None = None
    duration_seconds: float | None = None
    reasoning_seconds: float | None = None

    def behind(self, before: "Ending") -> "Ending":
        """The ending of an answer that was gone on with after it had ended before."""
        return replace(
            self,
            completion_tokens=_sum(before.completion_tokens, self.completion_tokens),
            cost_nanos=_sum(before.cost_nanos, self.cost_nanos),
            ttft_seconds=before.ttft_seconds or self.ttft_seconds,
            duration_seconds=_sum(before.duration_seconds, self.duration_seconds),
        )


def ending_of(message: Message) -> Ending:
    """How an answer ended, as its row has it."""
    names = [field.name for field in fields(Ending)]
    return Ending(**{name: getattr(message, name) for name in names})


def _sum(one: Number | None, other: Number | None) -> Number | None:
    """Of what is known; None for nothing."""
    return other if one is None else one + (other or 0)


@dataclass(frozen=True, slots=True)
class Draft:
    """What there is of an answer so far."""

    content: str
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What other web processes ask of the one that writes an answer."""

    is_stop_requested: bool
    is_attended: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What a row holds from some character on, and whether more will come."""

    text: str
    reasoning: str
    is_streaming: bool


@transaction.atomic
def write_drafts(drafts: dict[uuid.UUID, Draft]) -> dict[uuid.UUID, Wishes]:
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


def _update_drafts(drafts: dict[uuid.UUID, Draft]) -> None:
    """One statement for all of them: the ORM's update takes ten times as long."""
    table = connection.ops.quote_name(Message._meta.db_table)
    columns = {field.name: field for field in Message._meta.concrete_fields}
    key, written_at = columns["id"], columns["written_at"]
    moment = written_at.get_db_prep_save(now(), connection)
    rows = [
        (
            draft.content,
            draft.reasoning,
            moment,
            key.get_db_prep_save(message_id, connection),
            State.STREAMING,
        )
        for message_id, draft in drafts.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {table} SET content = %s, reasoning = %s,"  # noqa: S608
            " written_at = %s WHERE id = %s AND state = %s",
            rows,
        )


def is_attended(attended_at: datetime | None) -> bool:
    return attended_at is not None and now() - attended_at < settings.CHAT_UNATTENDED


def settle(message_id: uuid.UUID, draft: Draft, ending: Ending) -> None:
    """Write the whole text and how it ended, and have search find it."""
    Message.objects.filter(pk=message_id).update(
        content=draft.content,
        reasoning=draft.reasoning,
        written_at=now(),
        **{field.name: getattr(ending, field.name) for field in fields(Ending)},
    )
    index_by_id(message_id)


def read_progress(message_id: uuid.UUID, at: int, reasoning_at: int) -> Progress:
    """The row's text and reasoning from these characters on; a row that is gone has
    ended.

    Settles the answer first if its process has gone silent; else nothing is written.
    """
    rows = Message.objects.filter(pk=message_id)
    progress = rows.annotate(
        rest=Substr("content", at + 1),
        reasoning_rest=Substr("reasoning", reasoning_at + 1),
    )
    values = progress.values_list("rest", "reasoning_rest", "state", "written_at")
    found = values.first()
    if found is None:
        return Progress("", "", is_streaming=False)
    text, reasoning, state, written_at = found
    row = Message(state=state, written_at=written_at)
    if row.is_silent:
        rows.settle_interrupted()
    return Progress(text, reasoning, row.is_streaming and not row.is_silent)


def attend(message_id: uuid.UUID) -> None:
    """Let the process that writes this answer know that somebody follows it here."""
    Message.objects.streaming().filter(pk=message_id).update(attended_at=now())
