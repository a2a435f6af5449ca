"""Rates that several web processes share through Redis.

Each process takes a slice of the minute's allowance and spends it in memory, so that
one call serves many requests. While Redis is slow or gone, a process goes on with what
is left of its slice and then with its own part of the allowance: one over the number of
web processes.
"""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from django.conf import settings

from controller.limits.gathering import Gathering
from controller.limits.guarded_redis import GuardedRedis
from controller.limits.parts import own_part
from controller.limits.windows import Bucket

# All processes together hold at most a tenth of an allowance in their slices.
SLICES = 10
# A slice that is older is given up: Redis has filled up again meanwhile, and a burst
# must not have both.
SLICE_SECONDS = 10.0
# A refused request asks Redis; those that come within so long are refused with it.
DRY_SECONDS = 0.05

# One step: fill up by the time that has passed and by what is returned, then grant.
TAKE = """
local per_minute, needed = tonumber(ARGV[1]), tonumber(ARGV[2])
local slice, returned = tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local kept = redis.call('HMGET', KEYS[1], 'level', 'at', 'per_minute')
local level = tonumber(kept[1] or per_minute)
local at = tonumber(kept[2] or now)
level = level + per_minute - tonumber(kept[3] or per_minute)
level = math.min(level + (now - at) * per_minute / 60 + returned, per_minute)
local granted = math.max(0, math.min(math.floor(level), math.max(needed, slice)))
level = level - granted
redis.call('HSET', KEYS[1], 'level', level, 'at', now, 'per_minute', per_minute)
redis.call('EXPIRE', KEYS[1], 600)
return {granted, math.floor(level)}
"""


class Slice(NamedTuple):
    granted: int
    left: int
    """In Redis, for all processes; negative after more was used than foreseen."""


class RateStore(Protocol):
    async def take(
        self, limit_id: int, per_minute: int, needed: int, returned: int
    ) -> Slice | None:
        """A part of the allowance, after `returned` was put back; None if the store
        does not answer now."""


class RedisRates:
    """The allowances in Redis."""

    def __init__(self, redis: GuardedRedis) -> None:
        self._redis = redis

    async def take(
        self, limit_id: int, per_minute: int, needed: int, returned: int
    ) -> Slice | None:
        part = per_minute // (SLICES * settings.WEB_PROCESSES)
        arguments = [per_minute, needed, part, returned]
        answer = await self._redis.run(TAKE, [f"switchyard:rate:{limit_id}"], arguments)
        return None if answer is None else Slice(*map(int, answer))


class SharedBucket:
    """A `Bucket` of which this process holds a slice."""

    def __init__(
        self,
        limit_id: int,
        per_minute: int,
        store: RateStore,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_minute = per_minute
        self._limit_id = limit_id
        self._store = store
        self._monotonic = monotonic
        self._slice = 0
        self._taken_at = monotonic()
        self._dry_until = 0.0
        # As this process believes it to be; right whenever Redis has answered.
        self._whole = Bucket(per_minute, monotonic)
        self._own_part = Bucket(own_part(per_minute), monotonic)
        self._is_alone = False
        self._taking = Gathering(self._take_slice)

    def resize(self, per_minute: int) -> None:
        """Hold another allowance from now on; what is used stays used."""
        self.per_minute = per_minute
        self._whole.resize(per_minute)
        self._own_part.resize(own_part(per_minute))

    async def take(self, amount: int) -> bool:
        """Whether there was enough, which then is taken."""
        if self.take_here(amount):
            return True
        if self._monotonic() < self._dry_until:
            return False
        await self._taking.fetch(amount)
        return self.take_here(amount) or (self._is_alone and self._take_own(amount))

    def _take_own(self, amount: int) -> bool:
        """Whether there was enough in the own part, which then is taken.

        One for more than the own part waits for a full one and leaves a debt: it could
        not be served otherwise, for as long as Redis is gone.
        """
        bounded = min(amount, self._own_part.per_minute) or amount
        if not self._own_part.take_here(bounded):
            return False
        self._own_part.give(bounded - amount)
        return True

    def give(self, amount: int) -> None:
        """Put back what was not used; negative: take more, as far as it may go."""
        if self._is_alone:
            self._own_part.give(amount)
        else:
            self._slice += amount
            self._whole.give(amount)

    @property
    def remaining(self) -> int:
        """What could be taken now, by any process."""
        if self._is_alone:
            return self._own_part.remaining
        return self._whole.remaining

    def seconds_until(self, amount: int) -> float:
        """How long until so much is there; infinite for more than it ever holds."""
        if not self._is_alone:
            return self._whole.seconds_until(amount)
        part = self._own_part
        return part.seconds_until(min(amount, part.per_minute) or amount)

    def standing(self) -> tuple[int, float]:
        """(what any process could take now, seconds until all of it is back)."""
        return (self._own_part if self._is_alone else self._whole).standing()

    def take_here(self, amount: int) -> bool:
        """Whether there was enough in this process's slice, which then is taken."""
        if self._slice > 0 and self._monotonic() - self._taken_at > SLICE_SECONDS:
            self._slice = 0
        if self._slice < amount:
            return False
        self._slice -= amount
        self._whole.give(-amount)
        return True

    async def share(self) -> None:
        """Put back what of the slice is more than one process should hold, and own up
        to what was used beyond it. Call it now and then."""
        most = self.per_minute // (SLICES * settings.WEB_PROCESSES)
        if not -1 < self._slice <= most and not self._taking.is_fetching:
            await self._taking.fetch(0)

    async def _take_slice(self, wanted: int) -> None:
        returned, self._slice = self._slice, 0
        slice_ = await self._store.take(
            self._limit_id, self.per_minute, wanted, returned
        )
        self._is_alone = slice_ is None
        if slice_ is None:
            self._slice += returned
            return
        self._slice += slice_.granted
        self._taken_at = self._monotonic()
        self._whole.give(slice_.left + self._slice - self._whole.level)
        if slice_.granted < wanted:
            self._dry_until = self._monotonic() + DRY_SECONDS
