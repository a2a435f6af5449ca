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
    of the machine can read. Without one the engine does not start.
    """

    def __init__(self, app: Application) -> None:
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise RuntimeError(f"{KEY_VARIABLE} is not set: the engine would be open.")
        self.app = app
        self.expected = f"Bearer {key}".encode()

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
        return len(given) == 1 and hmac.compare_digest(given[0], self.expected)


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(REFUSAL)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": REFUSAL})
