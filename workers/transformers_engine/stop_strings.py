"""Stop strings: found even across tokens, and never shown."""

from collections.abc import Sequence


class StopStrings:
    """Passes text on, holding back what may be the beginning of a stop string."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(filter(None, strings))
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that may be shown now, and whether a stop string was met.

        After a stop string nothing more may be fed: the rest is not to be shown.
        """
        if not self._strings:
            return text, False
        held = self._held + text
        met = [at for at in map(held.find, self._strings) if at >= 0]
        if met:
            self._held = ""
            return held[: min(met)], True
        num_kept = self._longest_beginning_at_end_of(held)
        split = len(held) - num_kept
        self._held = held[split:]
        return held[:split], False

    def rest(self) -> str:
        """Return what was held back, once nothing more can come."""
        held, self._held = self._held, ""
        return held

    def _longest_beginning_at_end_of(self, text: str) -> int:
        longest = 0
        for stop in self._strings:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest
