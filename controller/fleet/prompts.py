"""Prompts as dispatch reads them: how long they are, and how they begin.

No chat template is rendered and no tokenizer asked. The text is put together in the
order in which templates do it (tools, then the messages, role before content), so two
prompts that begin alike here do so in the engine too.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

BLOCK_BYTES = 512
# What a prompt says beyond this (128k tokens) is not looked at.
MAX_CHAIN_BLOCKS = 1024
BYTES_PER_TOKEN = 4  # a rough rule for English; it errs the same way for all workers
# What engines make of one picture or sound is hundreds of tokens to a few thousand,
# whatever the size of its file.
TOKENS_PER_MEDIUM = 1024

_TEXTS = (
    "prompt",
    "input",
    "query",
    "queries",
    "documents",
    "items",
    "text_1",
    "text_2",
    "data_1",
    "data_2",
)
_encode = msgspec.json.Encoder(order="deterministic").encode


def prompt_text(body: dict[str, Any]) -> tuple[str, int]:
    """(the prompt's text in the engine's order, how many media stand in it).

    Media and what else is no text are represented by a few characters each.
    """
    pieces = list(_pieces(body))
    return "".join(pieces), pieces.count(_MEDIUM)


def estimate_tokens(text: str, num_media: int) -> int:
    size = len(text) if text.isascii() else len(_raw(text))
    return size // BYTES_PER_TOKEN + num_media * TOKENS_PER_MEDIUM


def hash_chain(text: str, salt: int) -> tuple[int, ...]:
    """One hash for each whole block of the text, each standing for all before it.

    Equal beginnings give equal hashes for the same salt, in this process only: it is
    Python's own keyed hash, five times as quick as a cryptographic one.
    """
    raw = _raw(text[: BLOCK_BYTES * MAX_CHAIN_BLOCKS])
    whole = min(len(raw) // BLOCK_BYTES, MAX_CHAIN_BLOCKS)
    chain = []
    link = salt
    for start in range(0, whole * BLOCK_BYTES, BLOCK_BYTES):
        link = hash((link, raw[start : start + BLOCK_BYTES]))
        chain.append(link)
    return tuple(chain)


_MEDIUM = "\n\x00"


def _pieces(body: dict[str, Any]) -> Iterator[str]:
    for name in ("tools", "functions"):
        if given := body.get(name):
            yield _written(given)
    for message in body.get("messages") or ():
        yield from _message_pieces(message)
    for name in _TEXTS:
        given = body.get(name)
        if isinstance(given, str):
            yield given
        elif given:
            yield _written(given)


def _message_pieces(message: dict[str, Any]) -> Iterator[str]:
    yield "\n"
    yield message["role"]
    yield "\n"
    content = message.get("content")
    if isinstance(content, str):
        yield content
    else:
        for part in content or ():
            yield from _part_pieces(part)
    if len(message) > 2:  # tool calls, names, reasoning
        rest = {
            name: value
            for name, value in message.items()
            if name not in ("role", "content")
        }
        yield _written(rest)


def _part_pieces(part: dict[str, Any]) -> Iterator[str]:
    text = part.get("text")
    if isinstance(text, str):
        yield text
    else:
        yield _MEDIUM
        yield str(hash(_written(part)))


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # half a character is no error here


def _written(value: Any) -> str:
    try:
        return _encode(value).decode()
    except RecursionError:  # the relay will refuse it, with the reason
        return ""
