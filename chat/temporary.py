"""Temporary conversations end when no page shows them any more.

A page that is left says so at once; one that crashed, or lost its connection for good,
is noticed here by its socket: after CHAT_UNATTENDED without one, the rows are deleted.
What a dead process left is purged by a task.
"""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from django.utils.timezone import now

from chat.database import writing
from chat.models import Conversation


class TemporaryPages:
    """The sockets of this process that show a temporary conversation."""

    def __init__(self) -> None:
        self._open: Counter[uuid.UUID] = Counter()
        self._timers: dict[uuid.UUID, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def shown(self, conversation_id: uuid.UUID) -> Iterator[None]:
        """While this lasts, and a while longer, the conversation does too."""
        self._open[conversation_id] += 1
        if timer := self._timers.pop(conversation_id, None):
            timer.cancel()
        try:
            yield
        finally:
            self._open[conversation_id] -= 1
            if not self._open[conversation_id]:
                del self._open[conversation_id]
                self._wait(conversation_id)

    def _wait(self, conversation_id: uuid.UUID) -> None:
        seconds = settings.CHAT_UNATTENDED.total_seconds()
        later = asyncio.get_running_loop().call_later
        self._timers[conversation_id] = later(
            seconds, self._end, conversation_id, now()
        )

    def _end(self, conversation_id: uuid.UUID, left_at: datetime) -> None:
        del self._timers[conversation_id]
        task = asyncio.create_task(self._delete(conversation_id, left_at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _delete(self, conversation_id: uuid.UUID, left_at: datetime) -> None:
        await writing(end_left, conversation_id, left_at)


def attend(conversation_id: uuid.UUID) -> None:
    """Note that a page shows it: perhaps another process waits for one."""
    Conversation.objects.filter(pk=conversation_id).update(updated_at=now())


def end_left(conversation_id: uuid.UUID, left_at: datetime) -> None:
    """Leave no row of it, unless a page of any process has shown it since."""
    left = Conversation.objects.filter(is_temporary=True, updated_at__lte=left_at)
    left.filter(pk=conversation_id).delete()


temporary_pages = TemporaryPages()
