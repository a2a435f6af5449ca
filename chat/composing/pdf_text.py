"""The text of a PDF, in a process of its own: `python -m chat.composing.pdf_text`.

Takes `Limits` as JSON, reads the file from standard input and writes a `PdfText` as
JSON. Knows no Django.
"""

import io
import logging
import resource
import sys
import time

import msgspec

MEMORY_BYTES = 2**30


class Limits(msgspec.Struct, frozen=True):
    """How much is read of a file."""

    pages: int
    chars: int
    seconds: float

    @property
    def argument(self) -> str:
        return msgspec.json.encode(self).decode()


class PdfText(msgspec.Struct, frozen=True, kw_only=True):
    text: str = ""
    is_cut: bool = False
    """There is more of it than the limits let be read."""
    is_encrypted: bool = False


def extracted(raw: bytes, limits: Limits) -> PdfText:
    """The text of the pages, as far as the limits go. Raises anything for a damaged
    file: what a parser runs into there is of no one kind."""
    from pypdf import PdfReader  # late: heavy, and only this process needs it

    began = time.monotonic()
    reader = PdfReader(io.BytesIO(raw))
    if reader.is_encrypted and not reader.decrypt(""):
        return PdfText(is_encrypted=True)
    texts: list[str] = []
    num_chars = 0
    for page in reader.pages[: limits.pages]:
        if time.monotonic() - began > limits.seconds or num_chars > limits.chars:
            break
        texts.append(page.extract_text())
        num_chars += len(texts[-1]) + 1
    text = "\n".join(texts).replace("\x00", "")
    is_cut = len(texts) < len(reader.pages) or len(text) > limits.chars
    return PdfText(text=_without_halves(text[: limits.chars]), is_cut=is_cut)


def _without_halves(text: str) -> str:
    """Fonts can map to half a character, which is in no encoding."""
    return text.encode(errors="ignore").decode()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable()  # pypdf warns of each oddity in each file
    limits = msgspec.json.decode(sys.argv[1], type=Limits)
    found = extracted(sys.stdin.buffer.read(), limits)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
