"""Bodies for pages, bounded before Django keeps them on disk.

Django's handler takes in the whole body before any view, or even a session, is asked:
without this, a stranger could fill the disk.
"""

from collections.abc import Mapping

from controller.errors import BodyTooLarge
from controller.lean import Message, Receive, Scope, Send, discard_body
from controller.serving.mounting import Application


def with_body_limits(
    application: Application, limits: Mapping[str, int], default: int
) -> Application:
    """The application, with 413 for bodies of more bytes than their path takes.

    `limits` are of paths below the site's prefix; `default` is for all others.
    """

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        limit = limits.get(path, default)
        left = limit

        async def receive_within() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large(limit)
            return message

        try:
            if _declared_length(scope) > limit:
                raise _too_large(limit)
            await application(scope, receive_within, send)
        except BodyTooLarge as exc:
            # Raised while the body is read: no answer has begun yet.
            await discard_body(receive)
            await _refuse(send, exc)

    return bounded


def _declared_length(scope: Scope) -> int:
    """What Content-Length says; 0 if it says nothing that is a number."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    return int(declared) if declared.isdigit() else 0


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"What you sent has more than the {limit} bytes that this address takes."
        " Send less."
    )


async def _refuse(send: Send, error: BodyTooLarge) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"connection", b"close"),
    ]
    await send(
        {"type": "http.response.start", "status": error.status, "headers": headers}
    )
    await send({"type": "http.response.body", "body": error.message.encode()})
