"""A moderation endpoint in OpenAI's wire format, as a real HTTP server.

A text is of a category if it has the category's name as a word.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CATEGORIES = ("hate", "violence", "sexual")


@dataclass
class FakeClassifier:
    key: str
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The bodies that came with the right key."""
    status: int = 200
    body: bytes | None = None
    """What is answered instead, where set."""
    is_hanging: bool = False
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def texts(self) -> list[str]:
        return [text for body in self.asked for text in body["input"]]

    def forget(self) -> None:
        """Be as new, at the same address."""
        self.asked.clear()
        self.status, self.body, self.is_hanging = 200, None, False


def judged(text: str) -> dict[str, Any]:
    found = {name: name in text.lower().split() for name in CATEGORIES}
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": {name: 0.9 if so else 0.2 for name, so in found.items()},
    }


@contextmanager
def running_classifier(key: str = "classifier-key") -> Iterator[FakeClassifier]:
    fake = FakeClassifier(key)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["authorization"] != f"Bearer {fake.key}":
                self._answer(401, b"{}")
                return
            fake.asked.append(json.loads(raw))
            if fake.is_hanging:
                fake.go_on.wait(30)
            results = [judged(text) for text in fake.asked[-1]["input"]]
            content = {"id": "modr-1", "model": "fake", "results": results}
            self._answer(fake.status, fake.body or json.dumps(content).encode())

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}/v1/moderations"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield fake
    finally:
        fake.go_on.set()
        server.shutdown()
        server.server_close()
