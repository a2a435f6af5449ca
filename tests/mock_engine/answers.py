"""The bytes of the mock engine's answers, in vLLM 0.32's wire format.

Everything that repeats is built once and cached with a placeholder for the request
id, so that an answer of 64 events costs one lookup and one `bytes.replace`. Each event
is an HTTP chunk of its own, as uvicorn sends vLLM's.
"""

import time
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from tests.mock_engine.behaviour import Behaviour

LAST_CHUNK = b"0\r\n\r\n"
MAX_CHARS_PER_TOKEN = 32  # what a tokenizer's longest token would have
_PLACEHOLDER = "~"  # as many as the id has characters: lengths then need no correction


class Wanted(NamedTuple):
    """The parts of a request that decide its answer."""

    is_chat: bool
    model: str
    request_id: str
    words: tuple[str, ...]
    """The text that each token lets out, already limited to `max_tokens`."""
    finish_reason: str
    prompt_tokens: int
    include_usage: bool = False
    continuous_usage: bool = False
    rest: str = ""
    """Text that comes with the end: it was held back for a stop string."""
    ids: tuple[int, ...] = ()
    """The tokens, if they are to be told."""
    prompt_ids: tuple[int, ...] = ()
    num_reasoning: int = 0
    """So many of the first words are reasoning."""

    @property
    def id(self) -> str:
        return ("chatcmpl-" if self.is_chat else "cmpl-") + self.request_id

    @property
    def usage(self) -> dict[str, int]:
        return usage(self.prompt_tokens, len(self.words))


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


class Said(NamedTuple):
    """What the tokens of an answer let out, with an eye on stop strings."""

    words: tuple[str, ...]
    rest: str
    met_stop: bool


def said(words: Sequence[str], stops: Sequence[str]) -> Said:
    """Return the text that each token lets out, as vLLM does it: the last letters are
    held back for as long as they may begin a stop string."""
    if not stops:
        return Said(tuple(words), "", False)
    num_held = max(map(len, stops)) - 1
    text, out, shown = "", [], 0
    for word in words:
        text += word
        met = min((at for at in map(text.find, stops) if at >= 0), default=None)
        if met is not None:
            return Said((*out, ""), text[shown:met], True)
        end = max(shown, len(text) - num_held)
        out.append(text[shown:end])
        shown = end
    return Said(tuple(out), text[shown:], False)


@lru_cache(maxsize=512)
def numbered_tokens(count: int) -> tuple[str, ...]:
    """Return `("t0", " t1", ...)`: the default answer, the same at each request."""
    return tuple(f"{' ' if i else ''}t{i}" for i in range(count))


def whole_answer(wanted: Wanted) -> bytes:
    """Return the JSON body of an answer that is not streamed."""
    template = _whole_template(
        wanted.is_chat,
        wanted.model,
        (*wanted.words, wanted.rest),
        wanted.finish_reason,
        wanted.prompt_tokens,
        len(wanted.words),
        len(wanted.id),
    )
    return _with_id(template, wanted.id)


def stream_pieces(wanted: Wanted) -> list[bytes]:
    """Return a stream as chunk-framed pieces, one per token.

    The role goes out with the first token; the finish chunk, the usage and `[DONE]`
    with the last, as vLLM sends what it has in one go.
    """
    events = _events(wanted)
    if len(events) == 2:  # no token at all: role and finish
        return [_with_id(b"".join(events), wanted.id) + _tail(wanted)]
    role, *tokens, finish = events
    pieces = [_with_id(event, wanted.id) for event in tokens]
    pieces[0] = _with_id(role, wanted.id) + pieces[0]
    pieces[-1] += _with_id(finish, wanted.id) + _tail(wanted)
    return pieces


def burst(wanted: Wanted) -> bytes:
    """Return a whole stream as one piece: what `stream_pieces` joins to, but faster."""
    return _with_id(_joined_events(_stream_key(wanted)), wanted.id) + _tail(wanted)


def cut_stream(wanted: Wanted, tokens: int) -> list[bytes]:
    """Return the pieces of the first `tokens` tokens, without any end."""
    role, *events, _finish = _events(wanted)
    pieces = [_with_id(event, wanted.id) for event in events[:tokens]]
    if pieces:
        pieces[0] = _with_id(role, wanted.id) + pieces[0]
    return pieces


def error_event() -> bytes:
    """Return the events with which vLLM ends a stream whose engine failed."""
    return (
        _chunk(b"data: " + error_body("Internal server error", 500) + b"\n\n")
        + _chunk(b"data: [DONE]\n\n")
        + LAST_CHUNK
    )


def garbage(is_stream: bool) -> bytes:
    if is_stream:
        return _chunk(b"data: {not json\n\n\xff\xfe\x00 garbage\n\n") + LAST_CHUNK
    return b"<html>\xff\xfe not json</html>"


def error_body(message: str, status: int, param: str | None = None) -> bytes:
    """Return vLLM's error body; its `code` is the status as an int."""
    kind = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError"}
    phrase = HTTPStatus(status).phrase.replace(" ", "")
    error = {
        "message": message,
        "type": kind.get(status, f"{phrase}Error"),
        "param": param,
        "code": status,
    }
    return msgspec.json.encode({"error": error})


def context_length_body(context_length: int) -> bytes:
    """Return vLLM's refusal of a prompt longer than the context, word for word.

    It stops tokenizing one token beyond the context, so it never knows the length.
    """
    message = (
        f"This model's maximum context length is {context_length} tokens. "
        f"However, your prompt contains at least {context_length + 1} input tokens, "
        "which exceeds this limit even without any output tokens. "
        "Please reduce the length of the input prompt."
    )
    return error_body(message, 400, "input_tokens")


def prompt_characters_body(context_length: int, characters: int) -> bytes:
    """Return vLLM's refusal of a text too long to be tokenized at all."""
    message = (
        f"This model's maximum context length is {context_length} tokens. "
        f"However, your prompt contains {characters} characters (more than "
        f"{context_length * MAX_CHARS_PER_TOKEN} characters, which is the upper bound "
        f"for {context_length} input tokens). "
        "Please reduce the length of the input prompt."
    )
    return error_body(message, 400, "input_text")


def max_tokens_body(context_length: int, field: str, asked: int) -> bytes:
    """Return vLLM's refusal of a `max_tokens` that no prompt leaves room for."""
    message = (
        f"{field}={asked} cannot be greater than "
        f"max_model_len={context_length}. Please request fewer output tokens."
    )
    return error_body(message, 400, field)


def missing_model_body(model: str) -> bytes:
    return error_body(f"The model `{model}` does not exist.", 404, "model")


UNAUTHORIZED = msgspec.json.encode(
    {
        "error": {
            "message": "This engine asks for its key as a bearer token.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }
)


def model_list(models: tuple[str, ...], context_length: int) -> bytes:
    """Return the body of `GET /v1/models`."""
    cards: list[dict[str, Any]] = [
        {
            "id": name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": name,
            "parent": None,
            "max_model_len": context_length,
            "permission": [],
        }
        for name in models
    ]
    return msgspec.json.encode({"object": "list", "data": cards})


def metrics_page(model: str, values: dict[str, float]) -> bytes:
    """Return the Prometheus page with vLLM's names and labels."""
    lines = []
    for name, value in values.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"# TYPE vllm:{name} {kind}")
        lines.append(f'vllm:{name}{{engine="0",model_name="{model}"}} {float(value)}')
    return ("\n".join(lines) + "\n").encode()


def shorten(behaviour: Behaviour) -> int | None:
    """Return after how many tokens the answer stops early, or None for never."""
    stops = (behaviour.cut_after, behaviour.hang_after, behaviour.error_after)
    return min((stop for stop in stops if stop is not None), default=None)


class _StreamKey(NamedTuple):
    is_chat: bool
    model: str
    words: tuple[str, ...]
    finish_reason: str
    prompt_tokens: int | None
    """Only with continuous usage; else None, so that all prompts share an entry."""
    id_length: int
    rest: str
    ids: tuple[int, ...]
    prompt_ids: tuple[int, ...]
    num_reasoning: int


def _stream_key(wanted: Wanted) -> _StreamKey:
    return _StreamKey(
        wanted.is_chat,
        wanted.model,
        wanted.words,
        wanted.finish_reason,
        wanted.prompt_tokens if wanted.continuous_usage else None,
        len(wanted.id),
        wanted.rest,
        wanted.ids,
        wanted.prompt_ids,
        wanted.num_reasoning,
    )


def _events(wanted: Wanted) -> tuple[bytes, ...]:
    return _stream_events(_stream_key(wanted))


@lru_cache(maxsize=64)
def _joined_events(key: _StreamKey) -> bytes:
    return b"".join(_stream_events(key))


@lru_cache(maxsize=64)
def _stream_events(key: _StreamKey) -> tuple[bytes, ...]:
    """Return the framed role, token and finish events, ids as placeholders."""
    events = []
    if key.is_chat:
        role = {"index": 0, "delta": {"role": "assistant", "content": ""}}
        beside = {"prompt_token_ids": key.prompt_ids or None}
        events.append(_event(key, role | {"finish_reason": None}, 0, beside))
    else:
        events.append(b"")
    for position, word in enumerate(key.words, start=1):
        choice = _choice(key, word, position) | {"finish_reason": None}
        events.append(_event(key, choice, position))
    finish = _choice(key, key.rest, None) | {"finish_reason": key.finish_reason}
    events.append(_event(key, finish | {"stop_reason": None}, len(key.words)))
    return tuple(events)


def _choice(key: _StreamKey, text: str, position: int | None) -> dict[str, Any]:
    """Return the choice of one token, or of the end; with ids as vLLM tells them, the
    prompt's beside a chat's choices and within a completion's first."""
    is_thought = position is not None and position <= key.num_reasoning
    delta = {"reasoning" if is_thought else "content": text}
    new = {"delta": delta} if key.is_chat else {"text": text}
    choice = {"index": 0, **new, "logprobs": None}
    if not key.ids:
        return choice
    if not key.is_chat:
        choice["prompt_token_ids"] = key.prompt_ids if position == 1 else None
    choice["token_ids"] = [] if position is None else [key.ids[position - 1]]
    return choice


def _event(
    key: _StreamKey,
    choice: dict[str, Any],
    tokens: int,
    beside: dict[str, Any] | None = None,
) -> bytes:
    chunk: dict[str, Any] = {
        "id": _PLACEHOLDER * key.id_length,
        "object": "chat.completion.chunk" if key.is_chat else "text_completion",
        "created": int(time.time()),
        "model": key.model,
        "choices": [choice],
        **(beside or {}),
    }
    if key.prompt_tokens is not None:
        chunk["usage"] = usage(key.prompt_tokens, tokens)
    return _chunk(b"data: " + msgspec.json.encode(chunk) + b"\n\n")


def _tail(wanted: Wanted) -> bytes:
    tail = _tail_template(
        wanted.is_chat,
        wanted.model,
        wanted.prompt_tokens,
        len(wanted.words),
        wanted.include_usage,
        len(wanted.id),
    )
    return _with_id(tail, wanted.id)


@lru_cache(maxsize=1024)
def _tail_template(
    is_chat: bool,
    model: str,
    prompt_tokens: int,
    completion_tokens: int,
    include_usage: bool,
    id_length: int,
) -> bytes:
    """Return what follows the finish event: the usage if wanted, then the end."""
    tail = _chunk(b"data: [DONE]\n\n") + LAST_CHUNK
    if not include_usage:
        return tail
    last: dict[str, Any] = {
        "id": _PLACEHOLDER * id_length,
        "object": "chat.completion.chunk" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": [],
        "usage": usage(prompt_tokens, completion_tokens),
    }
    return _chunk(b"data: " + msgspec.json.encode(last) + b"\n\n") + tail


@lru_cache(maxsize=256)
def _whole_template(
    is_chat: bool,
    model: str,
    words: tuple[str, ...],
    finish_reason: str,
    prompt_tokens: int,
    completion_tokens: int,
    id_length: int,
) -> bytes:
    text = "".join(words)
    new = {"message": {"role": "assistant", "content": text}}
    choice: dict[str, Any] = {"index": 0, **(new if is_chat else {"text": text})}
    choice |= {"logprobs": None, "finish_reason": finish_reason, "stop_reason": None}
    body = {
        "id": _PLACEHOLDER * id_length,
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage(prompt_tokens, completion_tokens),
    }
    return msgspec.json.encode(body)


def _with_id(template: bytes, request_id: str) -> bytes:
    placeholder = f'"{_PLACEHOLDER * len(request_id)}"'.encode()
    return template.replace(placeholder, f'"{request_id}"'.encode())


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)
