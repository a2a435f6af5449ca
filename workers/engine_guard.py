"""The lock on an engine's door: every path but `/health` wants the worker's key.

vLLM's own `--api-key` leaves `/invocations`, `/score`, `/pooling` and more open, so
the guard stands in front of the whole application instead. It runs inside the
engine's environment and therefore imports nothing but the standard library.
"""

import hmac
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

KEY_VARIABLE = "SWITCHYARD_ENGINE_KEY"
KEY_FILE_VARIABLE = "SWITCHYARD_ENGINE_KEY_FILE"
OPEN_PATHS = frozenset({"/health"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

REFUSAL = json.dumps(
    {
        "error": {
            "message": "This engine answers only to the key of its own worker.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }
).encode()


class RequireKey:
    """ASGI middleware: 401 to everything without the key, websockets refused.

    The key comes from the environment, never from the command line, which every user
    of the machine can read. Without one the engine does not start. Where a file holds
    the keys, they can change while it runs.
    """

    def __init__(self, app: Application) -> None:
        self.app = app
        self.keys = AcceptedKeys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()  # websocket.connect, which a close has to follow
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and not self._may_pass(scope):
            await _refuse(send)
        else:
            await self.app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["path"] in OPEN_PATHS:
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and self.keys.include(given[0])


class AcceptedKeys:
    """The keys that open the engine: those of a file, one a line, as it reads now.

    Without a file, or until it can be read, it is the one of the environment.
    """

    def __init__(self) -> None:
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise RuntimeError(f"{KEY_VARIABLE} is not set: the engine would be open.")
        self._expected = [f"Bearer {key}".encode()]
        self._file = os.environ.get(KEY_FILE_VARIABLE, "")
        self._read_at: tuple[int, int] | None = None

    def include(self, authorization: bytes) -> bool:
        """Whether it is `Bearer` and one of the keys, in a time that tells nothing."""
        if self._file:
            self._read_if_changed()
        matches = [hmac.compare_digest(authorization, key) for key in self._expected]
        return any(matches)

    def _read_if_changed(self) -> None:
        try:
            status = os.stat(self._file)
            read_at = status.st_mtime_ns, status.st_ino
            if read_at == self._read_at:
                return
            with open(self._file, encoding="ascii") as file:
                keys = file.read().split()
        except OSError:
            return  # a moment's trouble must not shut the engine to its controller
        if keys:
            self._expected = [f"Bearer {key}".encode() for key in keys]
            self._read_at = read_at


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(REFUSAL)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": REFUSAL})
