"""Engines for this folder's tests: one of each kind for the whole session."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import engines
from tests.workers.agents import FAKE_WORKER, ROOT, StartWorker, Worker
from tests.workers.stub_controller import StubController

PARSE_TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


@pytest.fixture(scope="session")
def model_worker(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[engines.RunningWorker]:
    """It serves the chat model and, under its folder's name, the embedding model."""
    folder = tmp_path_factory.mktemp("model-worker")
    second = ("--model-path", str(engines.minilm()))
    with engines.start_model_worker(folder, flags=second) as worker:
        yield worker


@pytest.fixture(scope="session")
def vllm_worker(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[engines.RunningWorker]:
    if not engines.has_vllm() and not os.environ.get("CI"):
        pytest.skip("needs vLLM in .venv-vllm; `ENGINE=vllm make run` puts it there")
    folder = tmp_path_factory.mktemp("vllm-worker")
    flags = ("--max-model-len", "2048", *PARSE_TOOLS)
    with engines.start_vllm_worker(folder, flags=flags) as worker:
        yield worker


@pytest.fixture(params=["model_worker", "vllm_worker"])
def engine(request: pytest.FixtureRequest) -> engines.RunningWorker:
    """Each of the two real engines in turn: what the relay may expect of any."""
    worker: engines.RunningWorker = request.getfixturevalue(request.param)
    return worker


@pytest.fixture
async def controller() -> AsyncIterator[StubController]:
    stub = StubController()
    async with stub.running():
        yield stub


@pytest.fixture
async def start_worker(
    tmp_path: Path, controller: StubController, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartWorker]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "token").write_text("good")
    workers = []

    async def start(*flags: str) -> Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(FAKE_WORKER),
            *("--model-path", "tiny", "--controller-address", controller.url),
            *("--join-token-file", "token", "--state-dir", "state", *flags),
            cwd=tmp_path,
            stderr=asyncio.subprocess.PIPE,
        )
        workers.append(Worker(process))
        return workers[-1]

    yield start
    for worker in workers:
        with suppress(ProcessLookupError):
            worker.process.kill()
        await worker.ended()
