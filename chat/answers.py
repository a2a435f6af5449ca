"""An answer's row: drafted while it is generated, settled at the end, read meanwhile.

Every function here uses the ORM: from the event loop, call it through `in_database`.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
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

    One query each and one for the wishes. An answer that is settled stays as it is,
    and a row that is gone (its conversation deleted) is wished to stop.
    """
    written_at = now()
    for message_id, content in drafts.items():
        row = Message.objects.streaming().filter(pk=message_id)
        row.update(content=content, written_at=written_at)
    wishes = dict.fromkeys(drafts, Wishes(is_stop_requested=True, is_attended=False))
    rows = Message.objects.filter(pk__in=drafts)
    for pk, stop_at, attended_at in rows.values_list(
        "pk", "stop_requested_at", "attended_at"
    ):
        wishes[pk] = Wishes(stop_at is not None, is_attended(attended_at))
    return wishes


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

    Settles the answer first if its process has gone silent.
    """
    row = Message.objects.filter(pk=message_id)
    row.settle_interrupted()
    found = row.annotate(rest=Substr("content", at + 1)).values_list("rest", "state")
    text, state = found.first() or ("", State.INTERRUPTED)
    return Progress(text, state == State.STREAMING)


def attend(message_id: uuid.UUID) -> None:
    """Let the process that writes this answer know that somebody follows it here."""
    Message.objects.streaming().filter(pk=message_id).update(attended_at=now())
