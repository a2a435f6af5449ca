"""What of a request's wait was the engine's, and what was the gateway's own."""

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Stopwatch:
    """`perf_counter` readings along the way; 0.0 for what has not come yet."""

    arrived_at: float
    sent_at: float = 0.0
    answered_at: float = 0.0
    """When the engine's first bytes came in."""
    first_out_at: float = 0.0
    """When they were ready to go on to the client."""
    queued_since: float = 0.0
    """Set while the request waits in line for a worker."""
    queued_before: float = 0.0
    """Seconds of the waits that are over."""

    @property
    def has_begun(self) -> bool:
        """The client has had something: what comes must go on from there."""
        return bool(self.first_out_at)

    def queue(self) -> None:
        """A wait in line begins."""
        self.queued_since = time.perf_counter()

    def unqueue(self) -> None:
        """It is over."""
        self.queued_before, self.queued_since = self.queued_seconds(), 0.0

    def queued_seconds(self) -> float:
        """How long it has waited in line; that is neither engine nor overhead."""
        if not self.queued_since:
            return self.queued_before
        return self.queued_before + time.perf_counter() - self.queued_since

    def overhead_seconds(self) -> float:
        """What the gateway itself added up to the first byte."""
        queued = self.queued_seconds()
        if not self.first_out_at:
            return (self.sent_at or time.perf_counter()) - self.arrived_at - queued
        waited = self.answered_at - self.sent_at
        return self.first_out_at - self.arrived_at - waited - queued

    def ttft_seconds(self) -> float | None:
        return self.first_out_at - self.arrived_at if self.first_out_at else None
