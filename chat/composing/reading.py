"""What a file is, by its bytes, and the text that is in it.

A name and a browser's word for its type are claims; nothing here looks at them.
"""

import codecs
import re
import subprocess
import sys
import threading
from dataclasses import dataclass

import msgspec
from django.conf import settings
from django.utils.translation import gettext as _

from chat.composing.pdf_text import Limits, PdfText
from chat.errors import AttachmentRefused

PDF = "application/pdf"
TEXT = "text/plain"
# (the type, what such a file begins with, and the same further on)
SIGNATURES = (
    ("image/png", b"\x89PNG\r\n\x1a\n", b""),
    ("image/jpeg", b"\xff\xd8\xff", b""),
    ("image/gif", b"GIF87a", b""),
    ("image/gif", b"GIF89a", b""),
    ("image/webp", b"RIFF", b"WEBP"),
    (PDF, b"%PDF-", b""),
)
FURTHER_ON = slice(8, 12)
# No text has them: tab, line breaks, form feed and escape are the ones that some do.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# Each takes a processor for up to ATTACHMENT_TIMEOUT; those that come wait.
_extractions = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Contents:
    media_type: str
    text: str = ""
    is_cut: bool = False
    """There was more text than we keep."""

    @property
    def is_image(self) -> bool:
        return self.media_type.startswith("image/")


def read(raw: bytes) -> Contents:
    """What the file is and says. Takes as long as ATTACHMENT_TIMEOUT for a PDF.

    Raises `AttachmentRefused` with a sentence that says what would do.
    """
    media_type = sniffed(raw)
    if media_type == PDF:
        return _read_pdf(raw)
    if media_type is not None:
        return Contents(media_type)
    text = _decoded(raw)
    maximum = settings.CHAT_MAX_DOCUMENT_CHARS
    return Contents(TEXT, text[:maximum], is_cut=len(text) > maximum)


def sniffed(raw: bytes) -> str | None:
    """The type of a picture or a PDF; None for all else."""
    for media_type, beginning, further_on in SIGNATURES:
        if raw.startswith(beginning) and raw[FURTHER_ON].startswith(further_on):
            return media_type
    return None


def _decoded(raw: bytes) -> str:
    is_utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _not_readable() from exc
    if CONTROLS.search(text):
        raise _not_readable()
    if not text.strip():
        raise AttachmentRefused(_("The file is empty."))
    return text


def _not_readable() -> AttachmentRefused:
    return AttachmentRefused(
        _(
            "Only text and code in UTF-8, PDF, and PNG, JPEG, GIF or WebP images can be"
            " attached."
        )
    )


def _read_pdf(raw: bytes) -> Contents:
    found = _extracted(raw)
    if found.is_encrypted:
        raise AttachmentRefused(_("The PDF is protected by a password."))
    if not found.text.strip():
        raise AttachmentRefused(
            _("The PDF has no text. Are its pages pictures? Attach them as images.")
        )
    return Contents(PDF, found.text, found.is_cut)


def _extracted(raw: bytes) -> PdfText:
    """In a process of its own, which can be ended and has its memory bounded: there is
    always one more PDF that takes a parser hours."""
    limits = Limits(
        pages=settings.CHAT_MAX_PDF_PAGES,
        chars=settings.CHAT_MAX_DOCUMENT_CHARS,
        seconds=settings.CHAT_ATTACHMENT_TIMEOUT.total_seconds(),
    )
    with _extractions:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "chat.composing.pdf_text", limits.argument],
                input=raw,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=settings.BASE_DIR,
                env={},  # no secret is where somebody's file is parsed
                # More than it gives itself: it stops in time between two pages.
                timeout=limits.seconds * 1.5 + 2,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise AttachmentRefused(_("The PDF takes too long to read.")) from exc
    if done.returncode:
        raise AttachmentRefused(_("The PDF is damaged: it cannot be read."))
    return msgspec.json.decode(done.stdout, type=PdfText)
