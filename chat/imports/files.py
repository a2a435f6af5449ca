"""The conversations in an uploaded file: JSON, or a zip that holds it."""

import re
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import msgspec
from django.conf import settings

from chat.errors import ImportTooLarge, NothingToImport
from chat.imports import chatgpt, open_webui, own
from chat.imports.shapes import ReadConversation, dicts_in, text_of

# ChatGPT's zip holds one such file, or several numbered ones when there is much.
_IN_ZIP = re.compile(r"(?:^|/)(?:conversations(?:-\d+)?|chat-export[^/]*)\.json$")
MAX_FILES_IN_ZIP = 100


def conversations_in(file: IO[bytes]) -> Iterator[ReadConversation | str]:
    """Each conversation of the file; the title alone of one in no known shape.

    Raises `ImportTooLarge` or `NothingToImport`.
    """
    for content in _contents(file):
        try:
            decoded = msgspec.json.decode(content)
        except (msgspec.MsgspecError, RecursionError) as exc:
            raise NothingToImport(f"it is not JSON ({exc})") from exc
        for exported in _listed(decoded):
            yield _read(exported)


def _contents(file: IO[bytes]) -> Iterator[bytes]:
    """The JSON texts in the file, never more than CHAT_IMPORT_MAX_BYTES unpacked."""
    if not zipfile.is_zipfile(file):
        file.seek(0)
        yield _bounded(file, settings.CHAT_IMPORT_MAX_BYTES)
        return
    left = settings.CHAT_IMPORT_MAX_BYTES
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if _IN_ZIP.search(name)]
            if not names:
                raise NothingToImport("it holds no conversations.json")
            for name in sorted(names)[:MAX_FILES_IN_ZIP]:
                with archive.open(name) as member:
                    content = _bounded(member, left)
                left -= len(content)
                yield content
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as exc:
        # RuntimeError: it asks for a password.
        raise NothingToImport(f"its zip cannot be opened ({exc})") from exc


def _bounded(file: IO[bytes], maximum: int) -> bytes:
    content = file.read(maximum + 1)
    if len(content) > maximum:
        raise ImportTooLarge(settings.CHAT_IMPORT_MAX_BYTES)
    return content


def _listed(decoded: Any) -> Iterator[dict[str, Any]]:
    if isinstance(decoded, dict) and isinstance(decoded.get("conversations"), list):
        decoded = decoded["conversations"]
    return dicts_in(decoded if isinstance(decoded, list) else [decoded])


def _read(exported: dict[str, Any]) -> ReadConversation | str:
    for knows, read in (
        (chatgpt.is_chatgpts, chatgpt.read),
        (open_webui.is_open_webuis, open_webui.read),
        (own.is_ours, own.read),
    ):
        if knows(exported):
            return read(exported)
    return text_of(exported.get("title"))
