"""What rules have found, on its way into the database: queued, then written at once."""

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.timezone import now

from controller.identity import encryption
from controller.models import ModerationFlag
from controller.moderation.matching import BLOCK, Rule

logger = logging.getLogger(__name__)

MAX_QUEUED = 10_000
MAX_SEEN = 10_000
SEEN_SECONDS = 24 * 3600
MAX_EXCERPT_CHARS = 200
CHARS_AROUND = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One row to be; the field names are `ModerationFlag`'s but for `rule`."""

    request_id: str
    face: str
    model: str
    user_id: int | None
    key_id: int | None
    team_id: int | None
    direction: str
    rule: Rule
    excerpt: str
    created_at: datetime = field(default_factory=now)


def excerpt(text: str, start: int, end: int) -> str:
    """What stands in the text from `start` to `end`, a little around it, and no more
    than MAX_EXCERPT_CHARS."""
    begin = max(0, start - CHARS_AROUND)
    return text[begin : min(end + CHARS_AROUND, begin + MAX_EXCERPT_CHARS)]


Sight = tuple[int | None, int | None, int, str, str]
"""(user, key, rule, direction, excerpt): what is the same where words come again."""


class FlagQueue:
    """At most MAX_QUEUED flags; of more, the newest are dropped and counted.

    What was not blocked comes again with each turn of its conversation: the same words
    of the same person are noted once a day.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._queued: deque[Flag] = deque()
        self._seen: OrderedDict[Sight, float] = OrderedDict()
        self.num_dropped = 0

    def add(self, flag: Flag) -> None:
        if flag.rule.action != BLOCK and self._was_seen(flag):
            return
        if len(self._queued) >= MAX_QUEUED:
            if not self.num_dropped:
                logger.error("the queue of moderation flags is full: some go unwritten")
            self.num_dropped += 1
            return
        self._queued.append(flag)

    def _was_seen(self, flag: Flag) -> bool:
        if flag.user_id is None and flag.key_id is None:
            return False  # it may be anybody
        excerpt = flag.excerpt
        sight = flag.user_id, flag.key_id, flag.rule.id, flag.direction, excerpt
        seen_at = self._seen.get(sight)
        if seen_at is not None and self._monotonic() - seen_at < SEEN_SECONDS:
            return True
        self._seen[sight] = self._monotonic()
        self._seen.move_to_end(sight)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return False

    def take(self) -> list[Flag]:
        """All that are queued, oldest first; they are the caller's to write."""
        taken, self._queued = list(self._queued), deque()
        return taken

    def give_back(self, batch: list[Flag]) -> None:
        """Queue again, first in line, what could not be written."""
        self._queued.extendleft(reversed(batch))


def write_flags(batch: Sequence[Flag]) -> None:
    """Insert the rows, each with its excerpt encrypted. One statement for each 100."""
    ModerationFlag.objects.bulk_create(map(_row, batch), batch_size=100)


def _row(flag: Flag) -> ModerationFlag:
    return ModerationFlag(
        request_id=flag.request_id,
        face=flag.face,
        model=flag.model,
        user_id=flag.user_id,
        key_id=flag.key_id,
        team_id=flag.team_id,
        rule_id=flag.rule.id,
        rule_name=flag.rule.name,
        category=flag.rule.category,
        direction=flag.direction,
        action=flag.rule.action,
        encrypted_excerpt=encryption.encrypt(flag.excerpt),
        created_at=flag.created_at,
    )
