"""The fleet's websocket on the real ASGI application."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils.timezone import now

from config.asgi import application
from controller.fleet import board as boards
from controller.fleet.board import Board, requests_on
from controller.fleet.heartbeats import write_heartbeats
from controller.gateway import running_gateway
from controller.models import User, Worker
from tests.controller.relaying import CALLER, KEY, make_request, new_placement
from tests.factories import make_operator, make_user, make_worker
from tests.mock_engine import running_mock_engine
from workers.protocol import Heartbeat, WorkerState

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 20


@pytest.fixture(autouse=True)
def fresh_board(monkeypatch):
    """A test's own, on its own loop, which looks often."""
    monkeypatch.setattr(boards, "READ_SECONDS", 0.05)
    monkeypatch.setattr("controller.consumers.board", Board())
    monkeypatch.setattr("controller.consumers.LOOK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("controller.consumers.PAUSE_SECONDS", 0.05)


def cookie_of(user: User | None) -> str:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client.cookies.output(header="", sep=";").partition(";")[0].strip()


class Watch:
    """A socket of the page; `async with` opens and closes it."""

    def __init__(self, user=None, query="", origin="http://localhost"):
        self.user, self.query, self.origin = user, query, origin

    async def open(self) -> bool:
        cookie = await sync_to_async(cookie_of)(self.user)
        headers = {"host": "localhost", "origin": self.origin, "cookie": cookie}
        self.socket = WebsocketCommunicator(
            application,
            f"/ws/fleet/{self.query}",
            headers=[(name.encode(), text.encode()) for name, text in headers.items()],
        )
        is_accepted, _ = await self.socket.connect(timeout=SECONDS)
        return is_accepted

    async def __aenter__(self):
        assert await self.open()
        return self

    async def __aexit__(self, *_exc):
        await self.socket.disconnect()

    async def hear(self, kind="workers", where=lambda message: True):
        async with asyncio.timeout(SECONDS):
            while True:
                message = json.loads(await self.socket.receive_from(SECONDS))
                if message["type"] == kind and where(message):
                    return message

    async def closed(self) -> int:
        async with asyncio.timeout(SECONDS):
            while (message := await self.socket.receive_output(SECONDS))[
                "type"
            ] != "websocket.close":
                pass
        return message["code"]


@pytest.fixture
def operator(db):
    return make_operator()


async def test_only_an_operator_who_may_see_workers_is_told_of_them(db):
    for user in (None, await sync_to_async(make_user)()):
        async with Watch(user) as watch:
            assert await watch.closed() == 4401
    idle = await sync_to_async(make_user)(is_staff=True)
    async with Watch(idle) as watch:
        assert await watch.closed() == 4401


async def test_a_page_of_another_site_is_not_connected(operator):
    assert not await Watch(operator, origin="http://evil.example").open()


async def test_the_whole_fleet_is_told_first_and_then_what_changes(operator):
    one = await sync_to_async(make_worker)("a")
    two = await sync_to_async(make_worker)("b")
    async with Watch(operator) as watch:
        first = await watch.hear()
        assert first["is_all"]
        assert {each["id"] for each in first["workers"]} == {str(one.pk), str(two.pk)}

        await Worker.objects.filter(pk=one.pk).aupdate(running=7, drain_wished=True)
        changed = await watch.hear()
        [worker] = changed["workers"]
        assert not changed["is_all"]
        assert (worker["id"], worker["running"]) == (str(one.pk), 7)
        assert worker["state"] == "draining"

        await Worker.objects.filter(pk=two.pk).aupdate(left_at=now())
        assert (await watch.hear())["gone"] == [str(two.pk)]


async def test_a_second_page_is_told_of_all_too(operator):
    await sync_to_async(make_worker)("a")
    async with Watch(operator) as first, Watch(operator) as second:
        assert (await first.hear())["workers"] == (await second.hear())["workers"]


async def test_who_loses_the_permission_is_told_no_more(db):
    user = await sync_to_async(make_user)(is_staff=True)
    may = await Permission.objects.aget(codename="view_worker")
    await user.user_permissions.aadd(may)
    worker = await sync_to_async(make_worker)("a")
    async with Watch(user) as watch:
        await watch.hear()
        await user.user_permissions.aclear()
        await Worker.objects.filter(pk=worker.pk).aupdate(running=1)

        assert await watch.closed() == 4401


async def test_speed_is_told_between_two_heartbeats(operator):
    worker = await sync_to_async(make_worker)("a", generation_tokens_total=100)
    async with Watch(operator) as watch:
        first = await watch.hear()
        assert first["workers"][0]["tokens_per_second"] is None
        later = worker.last_heartbeat_at + settings.HEARTBEAT_INTERVAL
        await Worker.objects.aupdate(
            generation_tokens_total=600, last_heartbeat_at=later
        )

        [told] = (await watch.hear())["workers"]

    seconds = settings.HEARTBEAT_INTERVAL.total_seconds()
    assert told["tokens_per_second"] == pytest.approx(500 / seconds, rel=1e-3)


async def test_a_workers_page_is_told_what_it_is_doing_and_no_text(operator):
    with running_mock_engine(key=KEY, models=("mock-1",)) as engine:
        worker = await sync_to_async(make_worker)(address=engine.url)
        await new_placement(worker, "mock-1")
        async with (
            running_gateway() as gateway,
            Watch(operator, f"?worker={worker.pk}") as watch,
        ):
            assert (await watch.hear("requests"))["requests"] == []
            text = "a secret plan [[tokens=500 interval_ms=20]]"
            exchange = await gateway.open(CALLER, make_request(text))
            told = await watch.hear("requests", lambda message: message["requests"])
            await exchange.aclose()
            await watch.hear("requests", lambda message: not message["requests"])

    [request] = told["requests"]
    assert request["id"] == exchange.request.request_id
    assert (request["model"], request["face"]) == ("mock-1", "api")
    assert "secret" not in json.dumps(told)
    assert requests_on(worker.pk) == []


async def send_log(worker, *lines):
    beat = Heartbeat(state=WorkerState.READY, start_id="s", log=list(lines))
    await sync_to_async(write_heartbeats)({worker.pk: (now(), beat)})


async def test_a_log_is_wished_of_the_worker_and_told_as_it_comes(operator):
    worker = await sync_to_async(make_worker)("a")
    async with Watch(operator, f"?worker={worker.pk}") as watch:
        await send_log(worker, "of before")
        await watch.socket.send_to(text_data='{"type": "log"}')
        assert (await watch.hear("log"))["lines"] == ["of before"]
        assert (await Worker.objects.aget()).log_wished_until > now()

        await send_log(worker, "one", "two")
        assert (await watch.hear("log"))["lines"] == ["one", "two"]


async def test_nonsense_is_passed_over(operator):
    await sync_to_async(make_worker)("a")
    async with Watch(operator, "?worker=none") as watch:
        for nonsense in ("nothing", "[]", '{"type": "explode"}', '{"type": "log"}'):
            await watch.socket.send_to(text_data=nonsense)

        assert (await watch.hear())["is_all"]
