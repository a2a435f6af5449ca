"""Rates and concurrency, each as one web process counts them."""

import math
import time
from collections.abc import Callable

from controller.errors import RateLimited
from controller.limits.book import Kind, LimitView
from controller.limits.windows import Bucket


class RateMeter:
    """Requests or tokens per minute; what is not used can be given back."""

    def __init__(
        self, limit: LimitView, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self.bucket = Bucket(limit.amount, monotonic)

    def adopt(self, limit: LimitView) -> None:
        self.limit = limit
        self.bucket.resize(limit.amount)

    def take(self, amount: int) -> int:
        """What was taken. Raises `RateLimited` if it is not there.

        A request for more than a minute's allowance waits for a full one and gets it:
        it could never be served otherwise.
        """
        taken = min(amount, self.limit.amount) or amount
        if not self.bucket.take(taken):
            raise self._refusal(taken)
        return taken

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

    def __init__(self, limit: LimitView) -> None:
        self.limit = limit
        self.under_way = 0

    def enter(self) -> None:
        """Raises `RateLimited` when all places are taken."""
        if self.under_way >= self.limit.amount:
            raise RateLimited(
                f"{self.under_way} requests of {self.limit.owner} are under way, and"
                f" the limit is {self.limit.amount} at once. Wait for one to end.",
                retry_after=1,
            )
        self.under_way += 1

    def leave(self) -> None:
        self.under_way -= 1


def seconds(amount: float) -> str:
    """A wait as OpenAI's headers write it: `120ms`, `1.5s`, `6m0s`."""
    if amount < 1:
        return f"{math.ceil(amount * 1000)}ms"
    if amount < 60:
        return f"{amount:.3g}s"
    minutes, rest = divmod(math.ceil(amount), 60)
    return f"{minutes}m{rest}s"
