"""Two web processes on one database: answers are seen, stopped and outlived by each."""

import http.cookiejar
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import pytest
from websockets.sync.client import connect

from tests.mock_engine import MockEngine, running_mock_engine
from tests.product import (
    Product,
    joined,
    running_product,
    set_up,
    wait_until_listed,
)

pytestmark = pytest.mark.redis


def sign_in(product: Product) -> str:
    """The session key of the first operator, who signs in at the form."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    address = f"{product.url}/accounts/login/"
    form = opener.open(address).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    assert token
    fields = {
        "csrfmiddlewaretoken": token[1],
        "login": product.credentials.username,
        "password": product.credentials.password,
    }
    opener.open(address, urllib.parse.urlencode(fields).encode())
    keys = [cookie.value for cookie in jar if cookie.name == "sessionid"]
    assert keys
    return str(keys[0])


class Socket:
    """A page's websocket to a process over the network."""

    def __init__(self, product: Product, session_key: str) -> None:
        self._connecting = connect(
            f"ws://127.0.0.1:{product.port}/ws/chat/",
            origin=product.url,  # type: ignore[arg-type]
            additional_headers={"Cookie": f"sessionid={session_key}"},
            proxy=None,
        )

    def __enter__(self) -> Self:
        self.socket = self._connecting.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._connecting.__exit__(*exc)

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self, *types: str) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = json.loads(self.socket.recv(timeout=15))
            if event["type"] in types:
                return event

    def ask(self, text: str, conversation: str | None = None) -> dict[str, Any]:
        message = {"model": "mock-1", "text": text, "conversation": conversation}
        self.say(type="send", **message)
        return self.hear("conversation")

    def attach(self, conversation: str) -> dict[str, Any]:
        self.say(type="attach", conversation=conversation)
        return self.hear("conversation")

    def read_answer(self, text: str) -> tuple[str, dict[str, Any]]:
        while True:
            event = self.hear("delta", "settled")
            if event["type"] == "settled":
                return text, event["message"]
            assert event["at"] == len(text)
            text += event["text"]


@dataclass
class TwoProcesses:
    engine: MockEngine
    first: Product
    second: Product
    session_key: str


@pytest.fixture(scope="module")
def environment(redis_server: str) -> dict[str, str]:
    return {
        "REDIS_URL": redis_server,
        "WEB_PROCESSES": "2",
        "CHAT_INTERRUPTED_AFTER": "2",
    }


@pytest.fixture(scope="module")
def second_and_engine(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Iterator[tuple[Product, MockEngine]]:
    var_dir = tmp_path_factory.mktemp("processes")
    set_up(var_dir)
    with (
        running_mock_engine(models=("mock-1",), tokens=4) as engine,
        running_product(var_dir, env=environment) as second,
        joined(second, engine),
    ):
        yield second, engine


@pytest.fixture
def processes(
    second_and_engine: tuple[Product, MockEngine], environment: dict[str, str]
) -> Iterator[TwoProcesses]:
    second, engine = second_and_engine
    engine.reset()
    with running_product(second.var_dir, env=environment) as first:
        wait_until_listed(first, "mock-1")
        yield TwoProcesses(engine, first, second, sign_in(first))


def test_the_other_process_shows_the_stream_and_can_stop_it(processes):
    key = processes.session_key
    with Socket(processes.first, key) as near, Socket(processes.second, key) as far:
        conversation = near.ask("one")["conversation"]["id"]
        far.attach(conversation)

        shown = near.ask("go on [[tokens=5000 interval_ms=5]]", conversation)
        assert far.hear("changed")["conversation"] == conversation
        seen = far.attach(conversation)["messages"][-1]
        assert seen["id"] == shown["messages"][-1]["id"]
        delta = far.hear("delta")
        far.say(type="stop", message=seen["id"])
        text, answer = far.read_answer(seen["content"] + delta["text"])

    assert answer["state"] == "stopped"
    assert text == answer["content"]
    processes.engine.wait_for(cancelled=1)


def test_a_killed_process_leaves_what_it_wrote_as_interrupted(processes):
    key = processes.session_key
    with Socket(processes.first, key) as near, Socket(processes.second, key) as far:
        shown = near.ask("go on [[tokens=5000 interval_ms=5]]")
        seen = far.attach(shown["conversation"]["id"])["messages"][-1]
        delta = far.hear("delta")

        processes.first.process.kill()
        text, answer = far.read_answer(seen["content"] + delta["text"])
        far.say(type="retry", message=answer["id"])

        assert far.hear("conversation")["messages"][0]["state"] == "streaming"
    assert answer["state"] == "interrupted"
    assert text == answer["content"] != ""
