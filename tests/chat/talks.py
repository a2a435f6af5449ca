"""Conversations and signed-in clients for tests of what is done with them."""

from typing import Any

import msgspec
from django.test import Client

from chat.answers import Draft, Ending, settle
from chat.conversations import Turn, begin_turn
from chat.models import Message
from controller.models import User


def said(
    user: User, prompt: str, answer: str = "An answer.", conversation_id: Any = None
) -> Turn:
    """A question and its whole answer, in a new conversation if none is named."""
    turn = begin_turn(user, conversation_id, "mock-1", prompt)
    settle(turn.message_id, Draft(answer), Ending(Message.State.COMPLETE))
    return turn


def client_of(user: User | None = None) -> Client:
    client = Client(headers={"host": "localhost"})
    if user:
        client.force_login(user)
    return client


class Library:
    """A user's calls of the sidebar's endpoints: (status, answer)."""

    def __init__(self, user: User | None) -> None:
        self.client = client_of(user)

    def get(self, path: str, **query: Any) -> tuple[int, Any]:
        return _read(self.client.get(f"/library/api/{path}/", query))

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        content = msgspec.json.encode(body)
        url = f"/library/api/{path}/"
        return _read(self.client.post(url, content, content_type="application/json"))

    def change(self, do: str, **body: Any) -> tuple[int, Any]:
        return self.post("change", do=do, **body)


def _read(response: Any) -> tuple[int, Any]:
    return response.status_code, response.json()
