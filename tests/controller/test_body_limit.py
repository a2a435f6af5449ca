"""Bodies for pages, before Django has them."""

import asyncio
from typing import Any

import pytest

from controller.serving.body_limit import with_body_limits


class Site:
    """Reads a whole body and answers 200, as Django does."""

    def __init__(self) -> None:
        self.was_asked = False
        self.body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.was_asked = True
        more = True
        while more:
            message = await receive()
            self.body += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def status_of(site: Site, parts: list[bytes], path: str = "/", length: int = 0) -> int:
    """What the client is answered who sends these parts, below /prefix."""
    sent: list[dict[str, Any]] = []
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", str(length).encode())] if length else []
    scope = {"path": f"/prefix{path}", "root_path": "/prefix", "headers": headers}
    bounded = with_body_limits(site, {"/files/": 100}, default=10)
    asyncio.run(bounded(scope, receive, send))
    return int(sent[0]["status"])


def test_a_body_is_refused_by_its_length_before_it_is_read():
    site = Site()

    assert status_of(site, [b"x" * 11], length=11) == 413
    assert not site.was_asked


def test_a_body_of_no_known_length_is_refused_as_it_grows():
    site = Site()

    assert status_of(site, [b"x" * 6, b"x" * 6, b"x" * 6]) == 413
    assert len(site.body) == 6


@pytest.mark.parametrize(("path", "size"), [("/", 10), ("/files/", 100)])
def test_a_body_of_just_what_its_path_takes_is_taken(path, size):
    site = Site()

    assert status_of(site, [b"x" * size], path, length=size) == 200
    assert len(site.body) == size
    assert status_of(Site(), [b"x" * (size + 1)], path, length=size + 1) == 413
