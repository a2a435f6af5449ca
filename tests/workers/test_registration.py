"""A registration in this process, where waiting is made short."""

import asyncio
import logging
from pathlib import Path

import aiohttp
import pytest

from tests.workers.stub_controller import StubController
from workers import registration
from workers.config import JoinTokenSource
from workers.controller_client import ControllerClient
from workers.metrics_scrape import EngineNumbers
from workers.protocol import Capacity, JoinRequest, ModelOffer, WorkerState
from workers.registration import Registration
from workers.state import open_state_dir


class Served:
    """An engine that is up."""

    start_id = "first"
    state = WorkerState.READY
    num_restarts = 0

    @property
    def current(self) -> "Served":
        return self

    async def ready(self) -> "Served":
        return self

    async def numbers(self) -> EngineNumbers:
        return EngineNumbers()


def describe(run: Served) -> JoinRequest:
    return JoinRequest(
        address="http://127.0.0.1:1",
        engine="fake",
        start_id=run.start_id,
        models=[ModelOffer(name="tiny", context_length=512)],
        capacity=Capacity(max_concurrency=1),
    )


async def test_a_missing_token_is_asked_for_each_minute_and_no_oftener(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(registration, "TOKEN_POLL_SECONDS", 0.01)
    monkeypatch.setattr(registration, "REPEAT_SECONDS", 0.3)
    token = tmp_path / "token"
    controller = StubController()
    async with controller.running(), aiohttp.ClientSession() as session:
        registered = Registration(
            JoinTokenSource(token),
            controller.url,
            ControllerClient(session, controller.url),
            Served(),
            describe,
            open_state_dir(tmp_path / "state"),
            on_stop=lambda: None,
        )
        with caplog.at_level(logging.WARNING, logger="workers.registration"):
            running = asyncio.create_task(registered.run())
            await asyncio.sleep(0.75)
            token.write_text("good")
            await controller.until(lambda: bool(controller.heartbeats))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asked = [r for r in caplog.records if "Waiting for a join token" in r.message]
    assert 2 <= len(asked) <= 3


async def test_whoever_waits_for_a_join_hears_of_it_if_another_is_wished_too(
    tmp_path: Path,
) -> None:
    (tmp_path / "token").write_text("good")
    controller = StubController()
    async with controller.running(), aiohttp.ClientSession() as session:
        registered = Registration(
            JoinTokenSource(tmp_path / "token"),
            controller.url,
            ControllerClient(session, controller.url),
            Served(),
            describe,
            open_state_dir(tmp_path / "state"),
            on_stop=lambda: None,
        )
        running = asyncio.create_task(registered.run())
        await controller.until(lambda: bool(controller.heartbeats))

        waiting = [registered.join_again(), registered.join_again()]
        async with asyncio.timeout(10):
            await asyncio.gather(*(event.wait() for event in waiting))

        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert len(controller.joins) == 2
