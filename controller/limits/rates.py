"""Rates and concurrency, each as one web process counts them."""

import math
from collections.abc import Sequence

from controller.errors import RateLimited
from controller.limits.book import Kind, LimitView
from controller.limits.places import Places
from controller.limits.shared_rates import SharedBucket
from controller.limits.windows import Bucket


class RateMeter:
    """Requests or tokens per minute; what is not used can be given back."""

    def __init__(self, limit: LimitView, bucket: Bucket | SharedBucket) -> None:
        self.limit = limit
        self.bucket = bucket

    def adopt(self, limit: LimitView) -> None:
        """Go on under a changed limit."""
        self.limit = limit
        self.bucket.resize(limit.amount)

    def bounded(self, amount: int) -> int:
        """What is taken for a request of this amount.

        One for more than a minute's allowance waits for a full one and gets it: it
        could never be served otherwise.
        """
        return min(amount, self.limit.amount) or amount

    async def take(self, amount: int) -> None:
        """Raises `RateLimited` if it is not there, in other processes neither."""
        bucket = self.bucket
        if isinstance(bucket, Bucket) or not await bucket.take(amount):
            raise self._refusal(amount)

    def _refusal(self, amount: int) -> RateLimited:
        wait = self.bucket.seconds_until(amount)
        label = Kind(self.limit.kind).label
        if math.isinf(wait):
            return RateLimited(f"{self.limit.owner} may not send any {label} at all.")
        return RateLimited(
            f"Rate limit reached: {self.limit.owner} has {self.limit.amount:,} {label},"
            f" {self.bucket.remaining:,} left, {amount:,} needed. Try again in"
            f" {seconds(wait)}.",
            retry_after=max(1, math.ceil(wait)),
        )


class ConcurrencyMeter:
    """Requests under way at once."""

    def __init__(self, limit: LimitView, places: Places) -> None:
        self.limit = limit
        self.places = places

    def adopt(self, limit: LimitView) -> None:
        """Go on under a changed limit."""
        self.limit = limit
        self.places.resize(limit.amount)

    async def enter(self) -> None:
        """Raises `RateLimited` when all places are taken, in other processes too."""
        if not await self.places.enter():
            raise RateLimited(
                f"Too many requests of {self.limit.owner} are under way: the limit is"
                f" {self.limit.amount} at once. Wait for one to end.",
                retry_after=1,
            )


def headers_of(what: bytes, meters: Sequence[RateMeter]) -> list[tuple[bytes, bytes]]:
    """What clients are told of the limit with the least left; nothing without one."""
    if not meters:
        return []
    standings = [(*meter.bucket.standing(), meter.limit.amount) for meter in meters]
    remaining, until_full, amount = min(standings)
    return [
        (b"x-ratelimit-limit-" + what, b"%d" % amount),
        (b"x-ratelimit-remaining-" + what, b"%d" % remaining),
        (b"x-ratelimit-reset-" + what, seconds(until_full).encode()),
    ]


def seconds(amount: float) -> str:
    """A wait as OpenAI's headers write it: `120ms`, `1.5s`, `6m0s`."""
    if amount < 1:
        return f"{math.ceil(amount * 1000)}ms"
    if amount < 60:
        return f"{amount:.3g}s"
    minutes, rest = divmod(math.ceil(amount), 60)
    return f"{minutes}m{rest}s"
