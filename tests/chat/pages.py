"""A chat page's websocket, played by tests on the real ASGI application."""

import json
from typing import Any, Self

from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from config.asgi import application
from controller.models import User

HOST = "localhost"
PATIENCE = 20  # seconds; a busy machine is slow


def make_session(user: User) -> str:
    """The key of a session that this user is signed in by."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


class Page:
    """A connected socket; `async with` opens and closes it."""

    def __init__(
        self, user: User | None = None, origin: str = f"http://{HOST}"
    ) -> None:
        self.user = user
        self.origin = origin
        self.session_key = ""
        self.text = ""
        self.answer: dict[str, Any] = {}

    async def open(self) -> bool:
        """Whether the server accepted the socket."""
        if self.user:
            make = database_sync_to_async(make_session)
            self.session_key = await make(self.user)
        cookie = f"{settings.SESSION_COOKIE_NAME}={self.session_key}"
        headers = {"host": HOST, "origin": self.origin, "cookie": cookie}
        self.socket = WebsocketCommunicator(
            application,
            "/ws/chat/",
            headers=[(name.encode(), text.encode()) for name, text in headers.items()],
        )
        is_accepted, _ = await self.socket.connect(timeout=5)
        return is_accepted

    async def __aenter__(self) -> Self:
        assert await self.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.socket.disconnect()

    async def say(self, **message: Any) -> None:
        await self.socket.send_to(text_data=json.dumps(message))

    async def hear(self, *types: str) -> dict[str, Any]:
        """The next event of one of these types; others before it are passed over."""
        while True:
            event: dict[str, Any] = json.loads(await self.socket.receive_from(PATIENCE))
            if event["type"] == "conversation" and event["messages"]:
                self.answer = event["messages"][-1]
                self.text = self.answer["content"]
            if event["type"] in types:
                return event

    async def closing_code(self) -> int:
        """The code that the server closes the socket with; events before it pass."""
        while True:
            output = await self.socket.receive_output(PATIENCE)
            if output["type"] == "websocket.close":
                return int(output["code"])

    async def ask(self, text: str, **message: Any) -> dict[str, Any]:
        """Send a prompt; the `conversation` event that shows it and its answer."""
        await self.say(type="send", **{"model": "mock-1", "text": text} | message)
        return await self.hear("conversation")

    async def read_answer(self) -> tuple[str, dict[str, Any]]:
        """(the shown answer as a page puts it together, the settled message).

        Asserts that each delta continues where the text before it ended.
        """
        while self.answer["state"] == "streaming":
            event = await self.hear("delta", "settled")
            if event["type"] == "settled":
                self.answer = event["message"]
            else:
                assert event["at"] == len(self.text)
                self.text += event["text"]
        return self.text, self.answer
