"""Text that grows, and readers that take of it what is new to them."""


class GrowingText:
    """Appended to by one writer; costs no more than its deltas until it is read."""

    def __init__(self, text: str = "") -> None:
        self.parts = [text] if text else []
        self.length = len(text)
        """In characters (code points)."""

    def __str__(self) -> str:
        return "".join(self.parts)

    def append(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)


class TextReader:
    """Takes a text from its character `at` on, in as large pieces as there are."""

    def __init__(self, text: GrowingText, at: int) -> None:
        self.at = at
        """So many characters were taken, or had been before."""
        self._text = text
        self._num_parts = 0
        self._skipped = at

    def take(self) -> str:
        """What came since the last time; "" for nothing."""
        fresh = "".join(self._text.parts[self._num_parts :])[self._skipped :]
        self._num_parts, self._skipped = len(self._text.parts), 0
        self.at += len(fresh)
        return fresh
