"""Tokens to text, one by one, without ever showing half a character."""

from collections.abc import Sequence
from typing import Protocol

CONTEXT_TOKENS = 6
MAX_HELD_TOKENS = 16
UNFINISHED = "\ufffd"


class Tokenizer(Protocol):
    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str: ...


class Detokenizer:
    """Decodes a growing sequence in a small window, so that each token costs the same.

    A token's text depends on its neighbours (leading spaces, characters of several
    bytes), so a window is decoded with and without the new token, and the difference
    is its text. The window begins with the end of the prompt: an answer that goes on
    from a partial one keeps its first space.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._window = list(prompt[-CONTEXT_TOKENS:])
        self._num_shown = len(self._window)

    def feed(self, token: int) -> str:
        """Return the text that `token` completes; empty while a character is open."""
        self._window.append(token)
        text = self._new_text()
        is_open = text.endswith(UNFINISHED)
        if is_open and len(self._window) - self._num_shown < MAX_HELD_TOKENS:
            return ""
        if text:
            # What was shown is the next window's context; what lay before it is done.
            del self._window[: max(0, self._num_shown - CONTEXT_TOKENS)]
            self._num_shown = len(self._window)
        return text

    def rest(self) -> str:
        """Return what is still open at the end, but for a character cut in the middle:
        what goes on from the answer would take its mark for a word of the model's."""
        text = self._new_text()
        self._num_shown = len(self._window)
        return text.rstrip(UNFINISHED)

    def _new_text(self) -> str:
        shown = self._decode(self._window[: self._num_shown])
        return self._decode(self._window)[len(shown) :]

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)
