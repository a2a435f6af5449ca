"""The mock engine's HTTP side: one `asyncio.Protocol` per connection, no framework.

It is the upstream of the benchmark, so a request costs it tens of microseconds: bytes
are parsed by httptools and answered from `answers`' caches.
"""

import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from tests.mock_engine import answers, pooling
from tests.mock_engine.behaviour import Behaviour, MockEngineConfig
from tests.mock_engine.places import Places
from tests.mock_engine.records import Journal, Record
from tests.mock_engine.tokens import Vocabulary, begun_answer, num_begun
from workers.protocol import INFERENCE_PATHS

_GENERATING = {b"/v1/chat/completions": True, b"/v1/completions": False}
_TOKENIZING = frozenset({b"/tokenize", b"/detokenize"})
_INFERRING = frozenset(path.encode() for path in INFERENCE_PATHS)


class _StreamOptions(Struct):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return " ".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class _Asked(NamedTuple):
    """A prompt, and what of its answer it holds already."""

    directing: str
    """The text that may hold directives."""
    ids: list[int]
    num_begun: int
    """Tokens of the answer at its end; or, as text: """
    begun: str

    def rest_of(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """What is still to be said: the words behind those that are there."""
        at = self.num_begun
        left = len(self.begun)
        while left and at < len(words) and left >= len(words[at]):
            left -= len(words[at])
            at += 1
        rest = words[at:]
        return (rest[0][left:], *rest[1:]) if left and rest else rest


class _Body(Struct):
    model: str
    messages: list[_Message] = []
    prompt: str | list[int] = ""
    stop: str | list[str] | None = None
    continue_final_message: bool = False
    return_token_ids: bool = False
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None

    @property
    def num_characters(self) -> int:
        if isinstance(self.prompt, list):
            return 0
        if not self.messages:
            return len(self.prompt)
        return len(" ".join(message.text for message in self.messages))

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    def read(self, vocabulary: Vocabulary) -> _Asked:
        if isinstance(self.prompt, list):
            begun = num_begun(self.prompt)
            return _Asked(vocabulary.text(self.prompt), self.prompt, begun, "")
        if not self.messages:
            begun_text = begun_answer(self.prompt)
            before = self.prompt.removesuffix(begun_text)
            ids = vocabulary.tokens(before) + vocabulary.tokens(begun_text)
            return _Asked(before, ids, 0, begun_text)
        of_user = [message for message in self.messages if message.role == "user"]
        ids = vocabulary.tokens(" ".join(message.text for message in self.messages))
        begun_text = self.messages[-1].text if self.continue_final_message else ""
        return _Asked(of_user[-1].text if of_user else "", ids, 0, begun_text)


_decode = msgspec.json.Decoder(_Body).decode
_decode_pooling = msgspec.json.Decoder(pooling.Body).decode


class RefusedError(Exception):
    """A request that is answered with an error; holds the status and the body."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Reply(Struct):
    """What goes out: pieces at their times, then an end."""

    status: int
    pieces: list[bytes]
    tokens: int = 0
    first_delay: float = 0.0
    """Seconds before the first piece."""
    interval: float = 0.0
    """Seconds between pieces; each is then one token."""
    ending: str = "done"
    """`done`, `cut` (close the connection) or `hang` (wait for the client to leave)."""


class MockEngineServer:
    """What all connections share: the configuration, the journal, the routes."""

    def __init__(self, config: MockEngineConfig) -> None:
        self.config = config
        self.journal = Journal(config.keep_requests)
        self.places = Places(config.concurrency)
        self.vocabulary = Vocabulary()
        self.authorization = f"Bearer {config.key}".encode()
        self.open_paths = frozenset(
            {b"/health"} | {path.encode() for path in config.open_paths}
        )
        self.extra_headers = "".join(f"{line}\r\n" for line in config.headers).encode()

    def reply(self, record: Record) -> Reply:
        """Return the answer to a request, or raise RefusedError."""
        path = record.path.partition(b"?")[0]
        if self.config.redirect:
            raise RefusedError(302, b"{}")
        if path not in self.open_paths and not self.has_key(record):
            raise RefusedError(401, answers.UNAUTHORIZED)
        if path in _INFERRING:
            if record.method != b"POST":
                raise RefusedError(405, answers.error_body("Method Not Allowed", 405))
            return self._infer(record, path)
        page = self._pages.get(path)
        if page is None or record.method != b"GET":
            raise RefusedError(404, answers.error_body("Not Found", 404))
        return page(self)

    def has_key(self, record: Record) -> bool:
        return (b"authorization", self.authorization) in record.headers

    def json_reply(self, content: object) -> Reply:
        return self._whole(200, msgspec.json.encode(content))

    def _infer(self, record: Record, path: bytes) -> Reply:
        if path in _GENERATING:
            return self._generate(record, is_chat=_GENERATING[path])
        if path in pooling.CALLS or path in _TOKENIZING:
            return self._pool(record, path)
        return self.json_reply({"object": "mock", "path": path.decode()})

    def _pool(self, record: Record, path: bytes) -> Reply:
        try:
            body = _decode_pooling(record.body)
            texts = body.texts()
            behaviour, _ = self.config.with_directives(texts[0] if texts else "")
        except msgspec.DecodeError as exc:
            raise RefusedError(400, answers.error_body(str(exc), 400)) from exc
        longest = max((len(text.split()) for text in texts), default=0)
        self.journal.start(record, sum(len(text.split()) for text in texts))
        self._check_prompt(body.model, 0, 0 if path in _TOKENIZING else longest)
        _refuse_if_asked(behaviour)
        try:
            answer = self._pooled(path, body, _request_id(record))
        except ValueError as exc:
            raise RefusedError(400, answers.error_body(str(exc), 400)) from exc
        return self._whole_answer(msgspec.json.encode(answer), 0, behaviour)

    def _pooled(self, path: bytes, body: pooling.Body, request_id: str) -> object:
        if path == b"/tokenize":
            length = self.config.context_length
            return pooling.tokenized(body, self.vocabulary, length)
        if path == b"/detokenize":
            return {"prompt": self.vocabulary.text(body.tokens)}
        return pooling.CALLS[path](body, request_id)

    def _generate(self, record: Record, *, is_chat: bool) -> Reply:
        try:
            body = _decode(record.body)
            asked = body.read(self.vocabulary)
            behaviour, plain = self.config.with_directives(asked.directing)
        except msgspec.DecodeError as exc:  # ValidationError included
            raise RefusedError(400, answers.error_body(str(exc), 400)) from exc
        prompt_tokens = len(asked.ids)
        self.journal.start(record, prompt_tokens)
        self._check_prompt(body.model, body.num_characters, prompt_tokens)
        limit = self._token_limit(body, prompt_tokens)
        _refuse_if_asked(behaviour)
        words = asked.rest_of(answers.numbered_tokens(behaviour.tokens))
        first = behaviour.tokens - len(words)
        if behaviour.echo:
            words = tuple(f" {word}" for word in plain.split())
        said = answers.said(words[:limit], body.stops)
        options = body.stream_options or _StreamOptions()
        num_tokens = len(said.words)
        is_cut = limit < len(words) and not said.met_stop
        wanted = answers.Wanted(
            is_chat,
            body.model,
            _request_id(record),
            said.words,
            "length" if is_cut else "stop",
            prompt_tokens,
            options.include_usage,
            options.continuous_usage_stats,
            said.rest,
            tuple(range(first, first + num_tokens)) if body.return_token_ids else (),
            tuple(asked.ids) if body.return_token_ids else (),
            behaviour.reasoning,
        )
        if body.stream:
            return self._stream(wanted, behaviour)
        return self._whole_answer(answers.whole_answer(wanted), num_tokens, behaviour)

    def _check_prompt(self, model: str, characters: int, tokens: int) -> None:
        """Raise RefusedError as vLLM does for a wrong model or too long a prompt."""
        context_length = self.config.context_length
        if model not in self.config.models:
            raise RefusedError(404, answers.missing_model_body(model))
        if characters > context_length * answers.MAX_CHARS_PER_TOKEN:
            body = answers.prompt_characters_body(context_length, characters)
            raise RefusedError(400, body)
        if tokens > context_length:
            raise RefusedError(400, answers.context_length_body(context_length))

    def _token_limit(self, body: _Body, prompt_tokens: int) -> int:
        """Return how long the answer may be; raise RefusedError as vLLM does."""
        context_length = self.config.context_length
        asked, field = body.max_tokens, "max_tokens"
        if body.max_completion_tokens is not None:
            asked, field = body.max_completion_tokens, "max_completion_tokens"
        if asked is not None and asked > context_length:
            raise RefusedError(
                400, answers.max_tokens_body(context_length, field, asked)
            )
        room = context_length - prompt_tokens
        return room if asked is None else min(asked, room)

    def _whole_answer(self, body: bytes, tokens: int, behaviour: Behaviour) -> Reply:
        if behaviour.garbage:
            body = answers.garbage(is_stream=False)
        reply = self._whole(200, body)
        reply.tokens = tokens
        seconds_of_decoding = behaviour.interval_ms * max(0, tokens - 1)
        reply.first_delay = (behaviour.first_ms + seconds_of_decoding) / 1000
        stop = answers.shorten(behaviour)
        if stop is not None:
            # Not streamed, an answer has no first tokens: half of its bytes arrive.
            reply.tokens = 0
            reply.pieces = [reply.pieces[0][: len(reply.pieces[0]) // 2]] * bool(stop)
            reply.ending = "cut" if behaviour.hang_after is None else "hang"
        return reply

    def _stream(self, wanted: answers.Wanted, behaviour: Behaviour) -> Reply:
        reply = Reply(
            200,
            [],
            len(wanted.words),
            behaviour.first_ms / 1000,
            behaviour.interval_ms / 1000,
        )
        stop = answers.shorten(behaviour)
        if stop is not None:
            reply.pieces = answers.cut_stream(wanted, stop)
            reply.tokens = len(reply.pieces)
            if behaviour.error_after is not None:
                reply.pieces.append(answers.error_event())
            elif behaviour.cut_after is not None:
                reply.ending = "cut"
            else:
                reply.ending = "hang"
        elif behaviour.garbage:
            reply.pieces = [answers.garbage(is_stream=True)]
        elif reply.interval:
            reply.pieces = answers.stream_pieces(wanted)
        else:
            reply.pieces = [answers.burst(wanted)]
        if reply.pieces:
            reply.pieces[0] = self._stream_head(wanted.request_id) + reply.pieces[0]
        if not reply.interval:
            reply.pieces = [b"".join(reply.pieces)] if reply.pieces else []
        return reply

    def _stream_head(self, request_id: str) -> bytes:
        return (
            b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\n"
            b"content-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\nx-request-id: %b\r\n%b\r\n"
        ) % (request_id.encode("latin-1"), self.extra_headers)

    def _whole(
        self, status: int, body: bytes, content_type: bytes = b"application/json"
    ) -> Reply:
        location = b"location: /elsewhere\r\n" if status == 302 else b""
        head = (
            b"HTTP/1.1 %d %b\r\nserver: uvicorn\r\n"
            b"content-type: %b\r\ncontent-length: %d\r\n%b%b\r\n"
        ) % (
            status,
            HTTPStatus(status).phrase.encode(),
            content_type,
            len(body),
            location,
            self.extra_headers,
        )
        return Reply(status, [head + body])

    def refusal(self, refused: RefusedError) -> Reply:
        return self._whole(refused.status, refused.body)

    def _model_list(self) -> Reply:
        config = self.config
        return self._whole(
            200, answers.model_list(config.models, config.context_length)
        )

    def _metrics(self) -> Reply:
        totals = self.journal.totals
        page = answers.metrics_page(
            self.config.models[0],
            {
                "num_requests_running": totals.in_flight,
                "num_requests_waiting": 0,
                "kv_cache_usage_perc": min(1.0, totals.in_flight / 256),
                "prefix_cache_queries_total": totals.prompt_tokens,
                "prefix_cache_hits_total": 0,
                "prompt_tokens_total": totals.prompt_tokens,
                "generation_tokens_total": totals.generation_tokens,
            },
        )
        return self._whole(200, page, b"text/plain; version=0.0.4; charset=utf-8")

    def _health(self) -> Reply:
        return self._whole(200, b"")

    def _version(self) -> Reply:
        return self._whole(200, b'{"version":"mock"}')

    _pages: dict[bytes, Callable[["MockEngineServer"], Reply]] = {
        b"/v1/models": _model_list,
        b"/metrics": _metrics,
        b"/health": _health,
        b"/version": _version,
    }


def _refuse_if_asked(behaviour: Behaviour) -> None:
    if behaviour.status != 200:
        message = f"The mock engine was asked for status {behaviour.status}."
        raise RefusedError(
            behaviour.status, answers.error_body(message, behaviour.status)
        )


def _request_id(record: Record) -> str:
    for name, value in record.headers:
        if name == b"x-request-id":
            return value.decode("latin-1")
    return os.urandom(16).hex()
