"""Places that several web processes share through Redis, never more than there are.

Each process holds some and fills them in memory; it keeps its own part of them for as
long as nobody else wants one, so that most requests ask nobody. Who needs more asks
Redis, where all that are held are counted; where none is left, the others are told, and
give back what they do not fill. What a process holds counts for as long as it lives.

While Redis is slow or gone, each process goes on with its own part.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from controller.limits.gathering import Gathering
from controller.limits.guarded_redis import GuardedRedis
from controller.limits.neighbours import (
    LIFE_SECONDS,
    PROCESSES,
    WANTED,
    WANTED_SECONDS,
    Told,
)
from controller.limits.parts import own_part

# A refused request asks Redis; those that come within so long are refused with it.
DRY_SECONDS = 0.05
# By then all others have heard that a place is wanted, and given back what is free.
RECALL_SECONDS = 0.3
# What nobody has used for so long is given back unasked.
IDLE_SECONDS = 600.0
# Redis forgets who holds what after twice as long; it is told anew before.
RENEW_SECONDS = 3600.0

# One step: count what living processes hold, then grant what is wished, if it is there.
TAKE = """
local places, processes, wanted = KEYS[1], KEYS[2], KEYS[3]
local own, life, amount = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local held, needed, wished = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
redis.call('HSET', processes, own, now + life)
local others = 0
local kept = redis.call('HGETALL', places)
for i = 1, #kept, 2 do
  if kept[i] ~= own then
    if tonumber(redis.call('HGET', processes, kept[i]) or 0) > now then
      others = others + tonumber(kept[i + 1])
    else
      redis.call('HDEL', places, kept[i])
    end
  end
end
local granted = math.max(0, math.min(amount - others - held, wished))
if held + granted > 0 then
  redis.call('HSET', places, own, held + granted)
  redis.call('EXPIRE', places, ARGV[7])
else
  redis.call('HDEL', places, own)
end
if granted < needed then
  redis.call('ZADD', wanted, now, ARGV[8])
end
return {granted, others}
"""


class Taken(NamedTuple):
    granted: int
    others: int
    """What other processes hold."""


class SharedPlaces:
    """The places of one owner of which this process holds some."""

    def __init__(
        self,
        name: str,
        amount: int,
        store: "RedisPlaces",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.under_way = 0
        self.is_alone = False
        """Redis did not answer the last time: the own part is all there is."""
        self._amount = amount
        self._store = store
        self._monotonic = monotonic
        self._held = 0
        self._most = 0  # what may be filled now
        self._dry_until = 0.0
        self._refused_at = self._wanted_since = self._wanted_until = -WANTED_SECONDS
        self._used_at = self._told_at = monotonic()
        self._taking = Gathering(self._take)

    def resize(self, amount: int) -> None:
        self._amount = amount
        self._set_most()

    def enter_here(self) -> bool:
        if self.under_way >= self._most:
            return False
        self.under_way += 1
        return True

    async def enter(self) -> bool:
        if await self._ask():
            return True
        wait = self._wanted_since + RECALL_SECONDS - self._monotonic()
        if self.is_alone or wait <= 0:
            return False
        await asyncio.sleep(wait)
        return await self._ask()

    def leave(self) -> None:
        self.under_way -= 1

    def recall(self) -> bool:
        """Keep nothing free for a while, since others need it; whether there is
        something to give back."""
        self._wanted_until = self._monotonic() + WANTED_SECONDS
        return self._held > self.under_way

    def be_alone(self) -> None:
        """Go on with the own part."""
        self.is_alone = True
        self._set_most()

    async def settle(self) -> None:
        """Give back what should not be kept, and tell Redis what is held."""
        if self._taking.is_fetching:
            return
        if not self.is_alone:
            self._held = max(self.under_way, min(self._held, self._kept))
            self._set_most()
        await self._taking.fetch(0)

    def is_due(self) -> bool:
        """Whether Redis should be told by `settle`. Call it now and then."""
        moment = self._monotonic()
        if self.under_way:
            self._used_at = moment
        is_idle = moment - self._used_at > IDLE_SECONDS
        return is_idle or moment - self._told_at > RENEW_SECONDS

    # -- inside ----------------------------------------------------------------

    async def _ask(self) -> bool:
        while not self.enter_here():
            if self.is_alone or self._monotonic() < self._dry_until:
                return False
            await self._taking.fetch(1)
        return True

    async def _take(self, needed: int) -> None:
        moment = self._monotonic()
        if needed:
            self._used_at = moment
        held = self.under_way if self.is_alone else max(self._held, self.under_way)
        wished = max(needed, self._kept - held) if needed else 0
        taken = await self._store.take(self.name, self._amount, held, needed, wished)
        if taken is None:
            self._held = held
            self.be_alone()
            self._store.hold(self)
            return
        self.is_alone, self._told_at = False, moment
        self._held = held + taken.granted
        self._set_most()
        if taken.granted < needed:
            self._refuse(taken.others)
        if self._held:
            self._store.hold(self)
        else:
            self._store.let_go(self)

    def _refuse(self, others: int) -> None:
        """Remember since when the others know that a place is wanted."""
        moment = self._monotonic()
        self._dry_until = moment + DRY_SECONDS
        if others and moment - self._refused_at >= WANTED_SECONDS:
            self._wanted_since = moment
        self._refused_at = moment

    @property
    def _kept(self) -> int:
        """How many to hold though they are free."""
        moment = self._monotonic()
        if moment < self._wanted_until or moment - self._used_at > IDLE_SECONDS:
            return 0
        return own_part(self._amount)

    def _set_most(self) -> None:
        part = own_part(self._amount) if self.is_alone else self._held
        self._most = min(part, self._amount)


class RedisPlaces:
    """All places in Redis of which this process, the `holder`, holds some."""

    def __init__(self, redis: GuardedRedis, holder: str) -> None:
        self._redis = redis
        self._holder = holder
        self._held: dict[str, SharedPlaces] = {}
        self._due: dict[str, None] = {}

    async def take(
        self, name: str, amount: int, held: int, needed: int, wished: int
    ) -> Taken | None:
        """So many more as are wished, or are left; None if Redis does not answer."""
        key = f"switchyard:places:{name}"
        kept_seconds = int(2 * RENEW_SECONDS)
        numbers = [LIFE_SECONDS, amount, held, needed, wished, kept_seconds]
        answer = await self._redis.run(
            TAKE, [key, PROCESSES, WANTED], [self._holder, *numbers, name]
        )
        return None if answer is None else Taken(*map(int, answer))

    def hold(self, places: SharedPlaces) -> None:
        self._held[places.name] = places

    def let_go(self, places: SharedPlaces) -> None:
        self._held.pop(places.name, None)

    def follow(self, told: Told | None) -> None:
        """Take over what the last exchange between processes said; None: nothing."""
        if told is None:
            for places in self._held.values():
                if not places.is_alone:
                    places.be_alone()
            return
        self._note_due(
            name
            for name, places in self._held.items()
            if places.is_alone or not told.were_known
        )
        wanted = (self._held.get(name) for name in told.wanted)
        self._note_due(each.name for each in wanted if each and each.recall())

    async def settle(self) -> None:
        """Tell Redis what has changed. Call it several times a second."""
        due, self._due = self._due, {}
        for name in due:
            places = self._held.get(name)
            if places is not None:
                await places.settle()

    async def tend(self) -> None:
        """Find what was not used for long. Call it now and then."""
        self._note_due(name for name, each in self._held.items() if each.is_due())

    def _note_due(self, names: Iterable[str]) -> None:
        self._due.update(dict.fromkeys(names))
