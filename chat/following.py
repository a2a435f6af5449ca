"""Following an answer that another web process writes, by its row."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from time import monotonic

from chat import answers
from chat.database import in_database, writing
from chat.news import Delta, Thought

POLL_SECONDS = 0.25
ATTEND_SECONDS = 10.0


async def row_deltas(
    message_id: uuid.UUID, at: int, reasoning_at: int
) -> AsyncGenerator[Delta | Thought, None]:
    """What the row gains after its first `at` characters, and those of its reasoning,
    until it is settled.

    While this runs the answer counts as attended. If its process has died, it is
    settled as interrupted here.
    """
    attended_at = -ATTEND_SECONDS
    is_streaming = True
    while is_streaming:
        if monotonic() - attended_at >= ATTEND_SECONDS:
            attended_at = monotonic()
            await writing(answers.attend, message_id)
        read = answers.read_progress
        progress = await in_database(read, message_id, at, reasoning_at)
        if progress.reasoning:
            yield Thought(reasoning_at, progress.reasoning)
            reasoning_at += len(progress.reasoning)
        if progress.text:
            yield Delta(at, progress.text)
            at += len(progress.text)
        is_streaming = progress.is_streaming
        if is_streaming:
            await asyncio.sleep(POLL_SECONDS)
