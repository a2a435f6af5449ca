"""A registration in this process, where waiting is made short."""

import asyncio
import errno
import logging
import tempfile
from pathlib import Path
from unittest.mock import Mock

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


def registration_of(
    folder: Path, controller: str, client: ControllerClient
) -> Registration[Served]:
    """Of a worker whose token and state are in the folder."""
    return Registration(
        JoinTokenSource(folder / "token"),
        controller,
        client,
        Served(),
        describe,
        open_state_dir(folder / "state"),
        on_stop=lambda: None,
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
        client = ControllerClient(session, controller.url)
        registered = registration_of(tmp_path, controller.url, client)
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
        client = ControllerClient(session, controller.url)
        registered = registration_of(tmp_path, controller.url, client)
        running = asyncio.create_task(registered.run())
        await controller.until(lambda: bool(controller.heartbeats))

        waiting = [registered.join_again(), registered.join_again()]
        async with asyncio.timeout(10):
            await asyncio.gather(*(event.wait() for event in waiting))

        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert len(controller.joins) == 2


async def test_a_worker_whose_disk_was_full_at_its_join_comes_back_without_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its one-time token is spent: who it is must not be lost with the file."""
    (tmp_path / "token").write_text("good")
    error = OSError(errno.ENOSPC, "No space left on device")
    controller = StubController()
    async with controller.running(), aiohttp.ClientSession() as session:
        client = ControllerClient(session, controller.url)
        registered = registration_of(tmp_path, controller.url, client)
        with monkeypatch.context() as full:
            full.setattr(tempfile, "mkstemp", Mock(side_effect=error))
            running = asyncio.create_task(registered.run())
            await controller.until(lambda: bool(controller.heartbeats))
        controller.tokens.clear()
        registered.join_again()
        await controller.until(lambda: len(controller.joins) == 2)
        bearer, joined = controller.joins[1]

        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert (bearer, joined.worker_id) == ("credential-of-w1", "w1")
    assert "it will need a new join token" in caplog.text
    assert "No space left on device" in caplog.text


async def test_an_address_with_a_percent_sign_can_be_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    controller = "http://[fe80::1%eth0]:9"
    (tmp_path / "token").write_text("good")
    async with aiohttp.ClientSession() as session:
        client = ControllerClient(session, "http://127.0.0.1:9")
        registered = registration_of(tmp_path, controller, client)
        said = asyncio.Event()
        monkeypatch.setattr(caplog.handler, "flush", said.set)
        running = asyncio.create_task(registered.run())
        async with asyncio.timeout(20):
            await said.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert f"Waiting for the controller at {controller}: nothing answers" in caplog.text
