"""What single tokens say: their bytes, of which a character may need several."""

import re
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
BYTE_OF_LETTER = {letter: byte for byte, letter in bytes_to_unicode().items()}


class Vocabulary:
    """The tokens of one tokenizer, one by one.

    Decoding a token alone loses what only its neighbours complete: the half of an
    emoji, the blank before a word.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = frozenset(tokenizer.get_added_vocab().values())
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._is_byte_level = "ByteLevel" in repr(getattr(backend, "decoder", ""))

    def bytes_of(self, token: int) -> bytes:
        """Return what `token` adds to a text; empty if it is none of the model's."""
        piece: str | None = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return b""
        if token in self._added:
            return piece.encode()
        if self._is_byte_level:
            return bytes(BYTE_OF_LETTER[letter] for letter in piece)
        byte = BYTE_TOKEN.fullmatch(piece)
        if byte:
            return bytes([int(byte[1], 16)])
        return piece.replace("\u2581", " ").encode()

    def text_of(self, token: int) -> str:
        """Return the text of `token`, with U+FFFD for what is no whole character."""
        return self.bytes_of(token).decode(errors="replace")
