"""Anthropic and Google as far as chat goes: real HTTP servers in their wire formats.

They answer "Hello there", or call the first tool they are offered, or say what the tool
said. What came in is kept for tests to look at.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
WORDS = ("Hello", " there")
CALL_ARGUMENTS = {"city": "Oslo"}


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: Json


@dataclass
class Refusal:
    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


class FakeProvider:
    """What both have in common. `answers_by` is the wire format of one of them."""

    api: str
    key_header: str
    model: str
    first_key = "first-provider-key"

    def __init__(self) -> None:
        self.keys = {self.first_key}
        self.url = ""
        self.forget()

    def forget(self) -> None:
        """Be as new, at the same address."""
        self.received: list[Received] = []
        self.refusal: Refusal | None = None
        """What to answer a chat with, while set."""
        self.is_hanging = False
        """Take a chat, begin a stream, and wait until `go_on` or the client leaves."""
        self.fails_midway = False
        """Begin a stream, and end it with an error after its first word."""
        self.go_on = threading.Event()
        self.has_chat = threading.Event()
        self.client_left = threading.Event()

    @property
    def last(self) -> Received:
        return self.received[-1]

    def key_refusal(self) -> Refusal:
        raise NotImplementedError

    def outage(self) -> Refusal:
        raise NotImplementedError

    def bad_request(self, message: str) -> Refusal:
        raise NotImplementedError

    def too_long(self) -> Refusal:
        raise NotImplementedError

    def rate_limit(self, seconds: int) -> Refusal:
        raise NotImplementedError

    def spoken_of(self, body: Json) -> Json:
        """What a request asks for, in words that are no provider's."""
        raise NotImplementedError

    def models(self) -> Json:
        raise NotImplementedError

    def is_stream(self, path: str, body: Json) -> bool:
        raise NotImplementedError

    def whole(self, body: Json) -> Json:
        raise NotImplementedError

    def events(self, body: Json) -> list[tuple[str, Json]]:
        """Events of a stream: the name, if they bear one, and what they hold."""
        raise NotImplementedError


class FakeAnthropic(FakeProvider):
    """The Messages API (https://docs.claude.com/en/api/messages)."""

    api = "anthropic"
    key_header = "x-api-key"
    model = "claude-sonnet-4-5"

    def key_refusal(self) -> Refusal:
        return self._error(401, "authentication_error", "invalid x-api-key")

    def outage(self) -> Refusal:
        return self._error(529, "overloaded_error", "Overloaded, sensitive")

    def bad_request(self, message: str) -> Refusal:
        return self._error(400, "invalid_request_error", message)

    def too_long(self) -> Refusal:
        return self.bad_request("prompt is too long: 210000 tokens > 200000 maximum")

    def rate_limit(self, seconds: int) -> Refusal:
        headers = {"Retry-After": str(seconds)}
        return self._error(429, "rate_limit_error", "Number of tokens", headers)

    @staticmethod
    def _error(
        status: int, kind: str, message: str, headers: dict[str, str] | None = None
    ) -> Refusal:
        error = {"type": kind, "message": message}
        return Refusal(status, {"type": "error", "error": error}, headers or {})

    def spoken_of(self, body: Json) -> Json:
        parts = body["messages"][-1]["content"]
        images = [part["source"]["data"] for part in parts if part["type"] == "image"]
        return {
            "system": body["system"],
            "texts": [part["text"] for part in parts if part["type"] == "text"],
            "images": images,
            "max_tokens": body["max_tokens"],
            "stop": body["stop_sequences"],
            "temperature": body["temperature"],
        }

    def models(self) -> Json:
        model = {
            "type": "model",
            "id": self.model,
            "display_name": "Claude",
            "created_at": "2025-09-29T00:00:00Z",
            "max_input_tokens": 200_000,
            "max_tokens": 64_000,
        }
        ends = {"first_id": self.model, "last_id": self.model}
        return {"data": [model], "has_more": False, **ends}

    def is_stream(self, path: str, body: Json) -> bool:
        return bool(body.get("stream"))

    def whole(self, body: Json) -> Json:
        blocks = self._blocks(body)
        calls = any(block["type"] == "tool_use" for block in blocks)
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": blocks,
            "stop_reason": "tool_use" if calls else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 7, "output_tokens": 2},
        }

    def events(self, body: Json) -> list[tuple[str, Json]]:
        whole = self.whole(body)
        begun = {**whole, "content": [], "stop_reason": None}
        events: list[Json] = [{"type": "message_start", "message": begun}]
        for index, block in enumerate(whole["content"]):
            events += self._events_of(index, block)
        delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        usage = {"output_tokens": 2}
        events.append({"type": "message_delta", "delta": delta, "usage": usage})
        events.append({"type": "message_stop"})
        return [(event["type"], event) for event in events]

    def _events_of(self, index: int, block: Json) -> list[Json]:
        if block["type"] == "text":
            empty = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": word} for word in WORDS]
        else:
            empty = {**block, "input": {}}
            text = json.dumps(block["input"])
            halves = (text[:5], text[5:])
            deltas = [{"type": "input_json_delta", "partial_json": h} for h in halves]
        where = {"index": index}
        return [
            {"type": "content_block_start", **where, "content_block": empty},
            *({"type": "content_block_delta", **where, "delta": d} for d in deltas),
            {"type": "content_block_stop", **where},
        ]

    def _blocks(self, body: Json) -> list[Json]:
        last = body["messages"][-1]["content"]
        if isinstance(last, list) and last[0]["type"] == "tool_result":
            return [{"type": "text", "text": f"It says {last[0]['content']}"}]
        blocks: list[Json] = [{"type": "text", "text": "".join(WORDS)}]
        if tools := body.get("tools"):
            call = {"id": "toolu_1", "name": tools[0]["name"], "input": CALL_ARGUMENTS}
            blocks.append({"type": "tool_use", **call})
        return blocks


class FakeGemini(FakeProvider):
    """generateContent (https://ai.google.dev/api/generate-content)."""

    api = "gemini"
    key_header = "x-goog-api-key"
    model = "gemini-2.5-flash"

    def key_refusal(self) -> Refusal:
        return self.bad_request("API key not valid. Please pass a valid API key.")

    def outage(self) -> Refusal:
        return self._error(503, "UNAVAILABLE", "Overloaded, sensitive")

    def bad_request(self, message: str) -> Refusal:
        return self._error(400, "INVALID_ARGUMENT", message)

    def too_long(self) -> Refusal:
        return self.bad_request(
            "The input token count (1048577) exceeds the maximum number of tokens"
            " allowed (1048576)."
        )

    def rate_limit(self, seconds: int) -> Refusal:
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        delay = {"@type": kind, "retryDelay": f"{seconds}s"}
        return self._error(429, "RESOURCE_EXHAUSTED", "You exceeded it.", delay)

    def spoken_of(self, body: Json) -> Json:
        parts = body["contents"][-1]["parts"]
        config = body["generationConfig"]
        [system] = body["systemInstruction"]["parts"]
        images = [part["inlineData"]["data"] for part in parts if "inlineData" in part]
        return {
            "system": system["text"],
            "texts": [part["text"] for part in parts if "text" in part],
            "images": images,
            "max_tokens": config["maxOutputTokens"],
            "stop": config["stopSequences"],
            "temperature": config["temperature"],
        }

    @staticmethod
    def _error(status: int, kind: str, message: str, *details: Json) -> Refusal:
        error = {"code": status, "message": message, "status": kind}
        return Refusal(status, {"error": {**error, "details": list(details)}})

    def models(self) -> Json:
        chats = {
            "name": f"models/{self.model}",
            "inputTokenLimit": 1_048_576,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }
        embeds = {
            "name": "models/gemini-embedding-001",
            "supportedGenerationMethods": ["embedContent"],
        }
        return {"models": [chats, embeds]}

    def is_stream(self, path: str, body: Json) -> bool:
        return ":streamGenerateContent" in path

    def whole(self, body: Json) -> Json:
        return self._answer(self._parts(body), ends=True)

    def events(self, body: Json) -> list[tuple[str, Json]]:
        parts = self._parts(body)
        if parts == [{"text": "".join(WORDS)}]:
            parts = [{"text": word} for word in WORDS]
        last = len(parts) - 1
        return [
            ("", self._answer([part], ends=index == last))
            for index, part in enumerate(parts)
        ]

    def _answer(self, parts: list[Json], ends: bool) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        if ends:
            candidate["finishReason"] = "STOP"
        counts = {"promptTokenCount": 7, "candidatesTokenCount": 2}
        return {
            "candidates": [candidate],
            "usageMetadata": {**counts, "totalTokenCount": 9},
            "modelVersion": self.model,
            "responseId": "response-1",
        }

    def _parts(self, body: Json) -> list[Json]:
        last = body["contents"][-1]["parts"][0]
        if told := last.get("functionResponse"):
            return [{"text": f"It says {told['response']['result']}"}]
        if tools := body.get("tools"):
            name = tools[0]["functionDeclarations"][0]["name"]
            return [{"functionCall": {"name": name, "args": CALL_ARGUMENTS}}]
        return [{"text": "".join(WORDS)}]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: FakeProvider

    def do_GET(self) -> None:
        if not self._has_key():
            self._answer(self.provider.key_refusal())
        else:
            self._answer(Refusal(200, self.provider.models()))

    def do_POST(self) -> None:
        try:
            self._take_chat()
        except ConnectionError:
            self.provider.client_left.set()
            raise

    def _take_chat(self) -> None:
        provider = self.provider
        length = int(self.headers["content-length"])
        body = json.loads(self.rfile.read(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        provider.received.append(Received(self.path, headers, body))
        provider.has_chat.set()
        if not self._has_key():
            self._answer(provider.key_refusal())
        elif provider.refusal is not None:
            self._answer(provider.refusal)
        elif provider.is_stream(self.path, body):
            self._stream(provider.events(body))
        elif provider.is_hanging:
            self._wait()
        else:
            self._answer(Refusal(200, provider.whole(body)))

    def _has_key(self) -> bool:
        return self.headers[self.provider.key_header] in self.provider.keys

    def _answer(self, answer: Refusal) -> None:
        content = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in answer.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, events: list[tuple[str, Json]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.provider.fails_midway:
            said = next(
                place
                for place, (_, event) in enumerate(events)
                if WORDS[0] in json.dumps(event)
            )
            events = [*events[: said + 1], ("error", self.provider.outage().body)]
        for name, event in events:
            head = f"event: {name}\n" if name else ""
            self.wfile.write(f"{head}data: {json.dumps(event)}\n\n".encode())
            if self.provider.is_hanging and WORDS[0] in json.dumps(event):
                self._wait()

    def _wait(self) -> None:
        """Until the test says `go_on`, or the client closes the connection."""
        self.connection.settimeout(0.05)
        while not self.provider.go_on.is_set():
            with suppress(TimeoutError):
                if self.connection.recv(1) == b"":
                    raise ConnectionAbortedError
        self.connection.settimeout(None)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def running(provider: FakeProvider) -> Iterator[FakeProvider]:
    handler = type("Handler", (_Handler,), {"provider": provider})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        provider.url = f"http://127.0.0.1:{server.server_address[1]}"
        server.handle_error = lambda *_: None  # clients that left
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield provider
        finally:
            server.shutdown()
            serving.join()
