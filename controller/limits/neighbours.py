"""What web processes tell each other through Redis, several times a second.

Each says that it lives and how many requests it has under way on each worker, and hears
the same of the others. Who says nothing for `LIFE_SECONDS` is dead: what it had under
way, and the places that it held, count no more.
"""

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import msgspec

from controller.limits.guarded_redis import GuardedRedis

LIFE_SECONDS = 10
# So long others keep no place that they do not fill, after one was asked for in vain.
WANTED_SECONDS = 10.0
MAX_WANTED = 1000

PROCESSES = "switchyard:processes"
WANTED = "switchyard:places:wanted"
IN_FLIGHT = "switchyard:in_flight"

EXCHANGE = """
local processes, in_flight, wanted = KEYS[1], KEYS[2], KEYS[3]
local own, life, counts = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local was_known = redis.call('HEXISTS', in_flight, own)
redis.call('HSET', processes, own, now + life)
redis.call('HSET', in_flight, own, counts)
local told = {}
local known = redis.call('HGETALL', processes)
for i = 1, #known, 2 do
  local holder = known[i]
  if tonumber(known[i + 1]) <= now then
    redis.call('HDEL', processes, holder)
    redis.call('HDEL', in_flight, holder)
  elseif holder ~= own then
    table.insert(told, redis.call('HGET', in_flight, holder) or '{}')
  end
end
redis.call('ZREMRANGEBYSCORE', wanted, '-inf', now - ARGV[4])
return {was_known, redis.call('ZREVRANGE', wanted, 0, ARGV[5] - 1), told}
"""
LEAVE = """
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
"""

_decode = msgspec.json.Decoder(dict[UUID, int]).decode


@dataclass(frozen=True, slots=True)
class Told:
    """What one exchange brought."""

    in_flight: Mapping[UUID, int]
    """On each worker, of all other processes together."""
    wanted: list[str]
    """Of whom other processes, or this one, had too few places lately."""
    were_known: bool
    """False if Redis has forgotten us: after our first moment, a restart of it, or a
    long silence of ours."""


class Neighbours:
    """The other web processes, as one of them knows them."""

    def __init__(self, redis: GuardedRedis) -> None:
        self._redis = redis
        self.holder = secrets.token_hex(8)

    async def exchange(self, in_flight: Mapping[UUID, int]) -> Told | None:
        """Say how many requests are under way on each worker, and hear of the others;
        None if Redis does not answer now."""
        counts = msgspec.json.encode(in_flight)
        answer = await self._redis.run(
            EXCHANGE,
            [PROCESSES, IN_FLIGHT, WANTED],
            [self.holder, LIFE_SECONDS, counts, WANTED_SECONDS, MAX_WANTED],
        )
        if answer is None:
            return None
        were_known, wanted, told = answer
        total: Counter[UUID] = Counter()
        for of_one in told:
            total.update(_decode(of_one))
        return Told(total, [name.decode() for name in wanted], bool(were_known))

    async def leave(self) -> None:
        """This process ends: nothing of it counts any more."""
        await self._redis.run(LEAVE, [PROCESSES, IN_FLIGHT], [self.holder])
