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

    def overhead_seconds(self) -> float:
        """What the gateway itself added up to the first byte."""
        if not self.first_out_at:
            return (self.sent_at or time.perf_counter()) - self.arrived_at
        waited = self.answered_at - self.sent_at
        return self.first_out_at - self.arrived_at - waited

    def ttft_seconds(self) -> float | None:
        return self.first_out_at - self.arrived_at if self.first_out_at else None
