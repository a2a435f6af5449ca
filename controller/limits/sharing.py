"""What the web processes share through Redis, as one of them holds it."""

from collections.abc import Mapping
from uuid import UUID

from controller.limits.guarded_redis import GuardedRedis
from controller.limits.neighbours import Neighbours
from controller.limits.shared_places import RedisPlaces
from controller.limits.shared_rates import RedisRates


class Sharing:
    def __init__(self, url: str) -> None:
        self._redis = GuardedRedis(url)
        self._neighbours = Neighbours(self._redis)
        self.rates = RedisRates(self._redis)
        self.places = RedisPlaces(self._redis, self._neighbours.holder)

    async def exchange(
        self, in_flight: Mapping[UUID, int]
    ) -> Mapping[UUID, int] | None:
        """Say how many requests are under way on each worker; those of all other
        processes come back, None while Redis does not answer. Call it several times a
        second."""
        told = await self._neighbours.exchange(in_flight)
        self.places.follow(told)
        return None if told is None else told.in_flight

    async def close(self) -> None:
        """Hold nothing any more: this process ends."""
        await self._neighbours.leave()
        await self._redis.close()
