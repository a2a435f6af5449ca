"""How fast a line moves, as those who stand in it want to know."""

# The rate is that of about the last 32 turns; one of less time would be chance.
FADING = 1 - 1 / 32
LEAST_SECONDS = 0.5
# The first turns of a line are the places that happened to be free.
LEAST_TURNS = 3


class TurnRate:
    """Turns per second while somebody waits; the latest weigh most."""

    def __init__(self) -> None:
        self._counted = 0
        self._turns = 0.0
        self._seconds = 0.0
        self._last_at = 0.0

    def resume(self, now: float) -> None:
        """Time in which nobody waited says nothing of the rate."""
        self._last_at = now

    def count(self, now: float) -> None:
        """A turn was taken."""
        self._counted += 1
        self._turns = self._turns * FADING + 1
        self._seconds = self._seconds * FADING + now - self._last_at
        self._last_at = now

    def per_second(self, now: float) -> float:
        """0 as long as too little was seen to tell."""
        seconds = self._seconds + now - self._last_at
        can_tell = self._counted >= LEAST_TURNS and seconds >= LEAST_SECONDS
        return self._turns / seconds if can_tell else 0.0
