"""Time that a test moves."""


class Clock:
    """A monotonic clock that stands still until `seconds` is changed."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds
