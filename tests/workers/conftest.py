"""Engines for this folder's tests: one of each kind for the whole session."""

import os
from collections.abc import Iterator

import pytest

from tests import engines


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
    with engines.start_vllm_worker(folder) as worker:
        yield worker


@pytest.fixture(params=["model_worker", "vllm_worker"])
def engine(request: pytest.FixtureRequest) -> engines.RunningWorker:
    """Each of the two real engines in turn: what the relay may expect of any."""
    worker: engines.RunningWorker = request.getfixturevalue(request.param)
    return worker
