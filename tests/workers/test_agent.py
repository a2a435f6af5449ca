"""The agent as a process: a real HTTP controller, an engine without a model."""

import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.workers.agents import (
    StartWorker,
    call,
    control,
    engine_pid,
    is_listening,
)
from tests.workers.stub_controller import StubController
from workers.protocol import HeartbeatAnswer, Task, WorkerState


async def test_a_worker_joins_with_what_its_engine_says_of_itself(
    controller: StubController, start_worker: StartWorker
) -> None:
    await start_worker("--model-names", "tiny,t", "--weight", "2", "--labels", "a=b")

    await controller.until(lambda: len(controller.heartbeats) > 1)

    bearer, joined = controller.joins[0]
    assert bearer == "good"
    assert (joined.engine, joined.engine_version) == ("fake", "1.0")
    assert joined.models[0].name == "tiny"
    assert joined.models[0].aliases == ["t"]
    assert joined.models[0].context_length == 512
    assert joined.models[0].tasks == [Task.COMPLETIONS]
    assert (joined.weight, joined.labels) == (2.0, {"a": "b"})
    assert joined.address.startswith("http://127.0.0.1:")
    assert controller.heartbeats[-1].state == WorkerState.READY
    assert controller.heartbeats[-1].generation_tokens_total == 42
    assert controller.heartbeats[-1].start_id == joined.start_id


async def test_a_worker_offers_what_its_engine_does_and_nothing_else(
    controller: StubController, start_worker: StartWorker
) -> None:
    await start_worker("--model-names", "embedder")

    await controller.until(lambda: len(controller.joins) > 0)

    _, joined = controller.joins[0]
    assert joined.models[0].tasks == [Task.EMBEDDINGS]
    assert not joined.can_continue


async def test_an_engine_that_only_counts_tokens_is_started_again(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker("--model-names", "idler")

    await worker.says("it does nothing with idler that can be offered")

    assert controller.joins == []


async def test_the_engine_wants_the_key_and_is_not_given_the_join_token(
    controller: StubController,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SWITCHYARD_JOIN_TOKEN", "secret")

    await start_worker()
    await controller.until(lambda: bool(controller.joins))

    _, joined = controller.joins[0]
    environment = call(joined.address, "/version", joined.engine_key)["environment"]
    assert "SWITCHYARD_ENGINE_KEY" in environment
    assert "SWITCHYARD_JOIN_TOKEN" not in environment
    with pytest.raises(urllib.error.HTTPError, match="401"):
        call(joined.address, "/v1/models", "wrong")


async def test_a_refused_token_is_named_with_its_repair_and_read_anew(
    controller: StubController, start_worker: StartWorker, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("bad")
    worker = await start_worker()
    await worker.says("Unknown join token. Make a new one with `python manage.py")

    (tmp_path / "token").write_text("good")
    await worker.says("Joined ")

    # The first is refused at a join, or before it, while the engine loads.
    told = [*controller.checks, *controller.joins]
    assert {bearer for bearer, _ in told} == {"bad", "good"}
    assert controller.joins[-1][0] == "good"


async def test_a_missing_token_file_is_waited_for(
    controller: StubController, start_worker: StartWorker, tmp_path: Path
) -> None:
    (tmp_path / "token").unlink()
    worker = await start_worker()
    await worker.says("Waiting for a join token: none in the file token")

    (tmp_path / "token").write_text("good")

    await worker.says("Joined ")


async def test_a_worker_that_comes_back_uses_its_own_credential(
    controller: StubController, start_worker: StartWorker
) -> None:
    first = await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))
    first.process.send_signal(signal.SIGTERM)
    assert await first.ended() == 0

    controller.tokens.clear()
    await start_worker()
    await controller.until(lambda: len(controller.joins) == 2)

    bearer, joined = controller.joins[1]
    assert (bearer, joined.worker_id) == ("credential-of-w1", "w1")


async def test_a_forgotten_worker_joins_again_by_the_token(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker()
    await worker.says("Joined ")
    await controller.until(lambda: bool(controller.heartbeats))

    controller.credentials.clear()
    await worker.says("Joined ")

    bearers = [bearer for bearer, _ in controller.joins]
    assert bearers == ["good", "credential-of-w1", "good"]


async def test_a_worker_outlives_its_controllers_absence(
    start_worker: StartWorker,
) -> None:
    controller = StubController()
    async with controller.running():
        pass  # now it has a port, and nobody listens there
    worker = await start_worker("--controller-address", controller.url)
    await worker.says(f"Waiting for the controller at {controller.url}")

    async with controller.running():
        await controller.until(lambda: bool(controller.heartbeats))
    await worker.says("The controller does not hear us")
    controller.heartbeats.clear()
    async with controller.running():
        await controller.until(lambda: bool(controller.heartbeats))
        await worker.says("The controller hears us again")

    assert len(controller.credentials) == 1


async def test_a_worker_outlives_ten_restarts_of_its_controller(
    start_worker: StartWorker,
) -> None:
    controller = StubController()
    async with controller.running():
        await start_worker("--controller-address", controller.url)
        await controller.until(lambda: bool(controller.heartbeats))

    for _ in range(10):
        controller.heartbeats.clear()
        async with controller.running():
            await controller.until(lambda: bool(controller.heartbeats))

    assert len(controller.joins) == 1


async def test_a_crashed_engine_is_started_again_and_joins_with_a_new_start_id(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))

    control(controller, "/crash")
    await worker.says("The engine ended with status 3; starting it again in")
    await controller.until(lambda: len(controller.joins) == 2)
    start_ids = [joined.start_id for _, joined in controller.joins]
    await controller.until(lambda: controller.heartbeats[-1].start_id == start_ids[1])

    assert start_ids[0] != start_ids[1]
    assert controller.heartbeats[-1].num_restarts == 1
    assert controller.joins[0][1].address == controller.joins[1][1].address


async def test_a_hung_engine_is_started_again(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker("--hung-seconds", "1")
    await controller.until(lambda: bool(controller.heartbeats))

    control(controller, "/hang")

    await worker.says("The engine has not answered for")
    await controller.until(lambda: len(controller.joins) == 2)


async def test_an_engine_that_answers_but_does_nothing_is_started_again(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker("--hung-seconds", "1")
    await controller.until(lambda: bool(controller.heartbeats))

    control(controller, "/stall")
    await controller.until(
        lambda: controller.heartbeats[-1].state == WorkerState.FAILED
    )

    await worker.says("The engine answers, but has not done anything for 1 s; starting")
    await controller.until(lambda: len(controller.joins) == 2)


async def test_a_stopped_engine_is_given_no_work_and_started_again(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker("--hung-seconds", "3")
    await controller.until(lambda: bool(controller.heartbeats))
    control(controller, "/busy")

    os.kill(engine_pid(controller), signal.SIGSTOP)
    await worker.says("The engine does not respond: it is given no more work")
    await worker.says("The engine has not answered for")
    await controller.until(lambda: len(controller.joins) == 2)

    states = [beat.state for beat in controller.heartbeats]
    assert WorkerState.FAILED in states
    assert controller.heartbeats[-1].num_restarts == 1


async def test_an_engine_that_comes_out_of_its_silence_is_left_running(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker("--hung-seconds", "10")
    await controller.until(lambda: bool(controller.heartbeats))
    pid = engine_pid(controller)

    os.kill(pid, signal.SIGSTOP)
    await worker.says("The engine does not respond")
    os.kill(pid, signal.SIGCONT)
    await worker.says("The engine responds again")
    seen = len(controller.heartbeats)
    await controller.until(lambda: len(controller.heartbeats) > seen + 1)

    assert controller.heartbeats[-1].state == WorkerState.READY
    assert len(controller.joins) == 1


async def test_a_killed_engine_is_started_again(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))

    os.kill(engine_pid(controller), signal.SIGKILL)
    await worker.says("was ended by SIGKILL, as the kernel does where memory runs out;")
    await controller.until(lambda: len(controller.joins) == 2)


async def test_an_engine_too_busy_to_answer_does_not_look_idle(
    controller: StubController, start_worker: StartWorker
) -> None:
    await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))
    control(controller, "/busy")
    await controller.until(lambda: controller.heartbeats[-1].running == 1)

    control(controller, "/hang")
    seen = len(controller.heartbeats)
    await controller.until(lambda: len(controller.heartbeats) > seen + 1)

    assert controller.heartbeats[-1].running == 1


async def test_an_engine_that_loads_again_is_reported_with_its_progress(
    controller: StubController, start_worker: StartWorker, tmp_path: Path
) -> None:
    await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))
    (tmp_path / "loading").write_text("\rLoading weights:  43%|####")

    control(controller, "/crash")
    await controller.until(
        lambda: controller.heartbeats[-1].state == WorkerState.FAILED
    )
    await controller.until(
        lambda: controller.heartbeats[-1].state == WorkerState.LOADING
    )
    await controller.until(lambda: controller.heartbeats[-1].loading_progress == 0.43)
    (tmp_path / "loading").unlink()
    await controller.until(lambda: controller.heartbeats[-1].state == WorkerState.READY)

    assert controller.heartbeats[-1].loading_progress is None


async def test_a_worker_that_was_here_before_is_heard_while_its_engine_loads(
    controller: StubController, start_worker: StartWorker, tmp_path: Path
) -> None:
    first = await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))
    first.process.kill()
    await first.ended()
    controller.heartbeats.clear()
    (tmp_path / "loading").write_text("Loading shards:  7% Completed | 1/14\n")

    await start_worker()
    await controller.until(
        lambda: any(beat.loading_progress == 0.07 for beat in controller.heartbeats)
    )

    assert len(controller.joins) == 1
    (tmp_path / "loading").unlink()
    await controller.until(lambda: len(controller.joins) == 2)


async def test_the_operator_who_waits_hears_of_an_engine_that_loads(
    controller: StubController, start_worker: StartWorker
) -> None:
    await start_worker()
    await controller.until(lambda: bool(controller.joins))

    assert controller.checks
    assert {bearer for bearer, _check in controller.checks} == {"good"}
    assert controller.checks[0][1].state == WorkerState.LOADING
    assert not controller.checks[0][1].address


async def test_the_log_is_sent_while_it_is_wished_without_its_secrets(
    controller: StubController, start_worker: StartWorker
) -> None:
    await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))
    assert controller.heartbeats[0].log is None

    controller.wishes = HeartbeatAnswer(send_log=True)
    await controller.until(lambda: controller.heartbeats[-1].log is not None)
    log = "\n".join(controller.heartbeats[-1].log or [])
    controller.wishes = HeartbeatAnswer()
    await controller.until(lambda: controller.heartbeats[-1].log is None)

    assert "Joined http://" in log
    _bearer, joined = controller.joins[0]
    for secret in (joined.engine_key, *controller.credentials.values()):
        assert secret
        assert secret not in log


async def test_an_engine_that_never_starts_ends_the_worker_with_a_reason(
    start_worker: StartWorker,
) -> None:
    worker = await start_worker("--model-names", "cannot-load")

    assert await worker.ended() == 1
    assert "The engine ended with status 1, 3 times, before it was ready" in worker.log


async def test_a_drain_wish_is_told_back_until_it_ends(
    controller: StubController, start_worker: StartWorker
) -> None:
    await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))

    controller.wishes = HeartbeatAnswer(drain=True)
    await controller.until(
        lambda: controller.heartbeats[-1].state == WorkerState.DRAINING
    )
    controller.wishes = HeartbeatAnswer()
    await controller.until(lambda: controller.heartbeats[-1].state == WorkerState.READY)

    assert not controller.left


async def test_a_stop_wish_drains_and_leaves(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))

    controller.wishes = HeartbeatAnswer(stop=True)

    assert await worker.ended() == 0
    assert controller.left == ["w1"]


async def test_sigterm_lets_what_is_in_flight_finish_before_it_leaves(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))
    control(controller, "/busy")

    worker.process.send_signal(signal.SIGTERM)
    await controller.until(
        lambda: controller.heartbeats[-1].state == WorkerState.DRAINING
    )
    seen = len(controller.heartbeats)
    await controller.until(lambda: len(controller.heartbeats) > seen + 20)
    assert not controller.left
    control(controller, "/idle")

    assert await worker.ended() == 0
    assert controller.left == ["w1"]
    assert not is_listening(controller.joins[0][1].address)


async def test_a_drain_does_not_last_longer_than_its_patience(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker("--drain-seconds", "1")
    await controller.until(lambda: bool(controller.heartbeats))
    control(controller, "/busy")

    worker.process.send_signal(signal.SIGTERM)

    assert await worker.ended() == 0
    assert "1 request(s) not finished after 1 s are cut off" in worker.log


async def test_a_second_signal_ends_at_once(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker()
    await controller.until(lambda: bool(controller.heartbeats))
    control(controller, "/busy")

    worker.process.send_signal(signal.SIGINT)
    await worker.says("Stopping")
    worker.process.send_signal(signal.SIGINT)

    assert await worker.ended() == 128 + signal.SIGINT
    assert not controller.left


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
async def test_the_engine_dies_with_a_killed_agent(
    controller: StubController, start_worker: StartWorker
) -> None:
    worker = await start_worker()
    await controller.until(lambda: bool(controller.joins))
    address = controller.joins[0][1].address
    assert is_listening(address)

    worker.process.kill()
    await worker.ended()

    deadline = time.monotonic() + 10
    while is_listening(address):
        assert time.monotonic() < deadline


async def test_without_a_controller_the_key_is_in_a_closed_file(
    controller: StubController, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = await start_worker("--no-register")
    await worker.says("The engine's API key is in state/engine_key")
    await worker.says("Serving at ")

    url = worker.log.rsplit("Serving at ", 1)[1].split("/v1")[0]
    key = (tmp_path / "state/engine_key").read_text().strip()
    assert call(url, "/v1/models", key)["data"][0]["id"] == "tiny"
    assert (tmp_path / "state/engine_key").stat().st_mode & 0o777 == 0o600
    assert not controller.joins


async def test_a_port_in_use_is_one_line(
    start_worker: StartWorker,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])

        worker = await start_worker("--port", port)

        assert await worker.ended() == 2
    assert worker.log == f"Port {port} is in use; choose another with --port.\n"


async def test_a_second_worker_with_the_same_state_folder_is_one_line(
    controller: StubController, start_worker: StartWorker
) -> None:
    await start_worker()
    await controller.until(lambda: bool(controller.joins))

    second = await start_worker()

    assert await second.ended() == 2
    assert second.log.startswith("Another worker runs with the state folder state;")
    assert len(second.log.splitlines()) == 1


async def test_an_engine_that_refuses_its_flags_is_not_tried_again(
    start_worker: StartWorker,
) -> None:
    worker = await start_worker("--model-names", "refuses-its-flags")

    assert await worker.ended() == 1
    assert "The engine ended with status 2: it cannot be started like" in worker.log
    assert "starting it again" not in worker.log


@pytest.mark.parametrize(
    ("token", "trouble"),
    [
        ("", "Waiting for a join token: none in the file token"),
        ("bad", "refuses this worker: Unknown join token. Make a new one"),
    ],
)
async def test_what_a_join_will_fail_by_is_said_while_the_engine_loads(
    controller: StubController,
    start_worker: StartWorker,
    tmp_path: Path,
    token: str,
    trouble: str,
) -> None:
    (tmp_path / "loading").write_text("")
    (tmp_path / "token").write_text(token)

    worker = await start_worker()

    await worker.says(trouble)
    assert not controller.joins
