"""A real engine that stands still or dies under load, and an agent that does."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests import engines
from tests.product import listed_models, quick_product, wait_until, wait_until_listed
from tests.workers.agents import is_listening

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@contextmanager
def completion(
    worker: engines.RunningWorker, max_tokens: int
) -> Iterator[http.client.HTTPResponse]:
    """A streaming answer, from its headers on."""
    body = {
        "model": worker.name,
        "prompt": "Once upon a time",
        "max_tokens": max_tokens,
        "stream": True,
        "ignore_eos": True,
    }
    headers = {"Content-Type": "application/json", **worker.headers}
    netloc = urlsplit(worker.url).netloc
    with closing(http.client.HTTPConnection(netloc, timeout=120)) as connection:
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        yield connection.getresponse()


def test_a_real_engine_that_is_stopped_is_started_again(tmp_path: Path) -> None:
    with engines.start_model_worker(tmp_path, flags=["--hung-seconds=6"]) as worker:

        def says(text: str, times: int = 1) -> None:
            wait_until(lambda: worker.log.read_text().count(text) >= times, text, 120)

        (engine,) = psutil.Process(worker.process.pid).children()
        with completion(worker, max_tokens=1000) as answer:
            assert answer.readline().startswith(b"data: ")

            engine.suspend()
            says("it is given no more work")
            says("The engine has not answered for")

            # Cut off rather than left waiting: the relay moves on or says so.
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()
        says("The engine is ready after", times=2)
        with completion(worker, max_tokens=1) as answer:
            assert answer.status == 200


def test_a_real_engine_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with engines.start_model_worker(tmp_path) as worker:
        (engine,) = psutil.Process(worker.process.pid).children()
        with completion(worker, max_tokens=1000) as answer:
            assert answer.readline().startswith(b"data: ")

            engine.kill()

            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()
        wait_until(
            lambda: worker.log.read_text().count("The engine is ready after") == 2,
            "the engine's second start",
            120,
        )
        assert "was ended by SIGKILL" in worker.log.read_text()
        with completion(worker, max_tokens=1) as answer:
            assert answer.status == 200


def test_a_killed_agent_takes_a_real_engine_along_and_its_row_expires(
    tmp_path: Path, new_var_dir: Callable[[], Path]
) -> None:
    with (
        quick_product(new_var_dir()) as product,
        engines.start_model_worker(
            tmp_path,
            controller=product.url,
            join_token=product.credentials.join_token,
        ) as worker,
    ):
        wait_until_listed(product, worker.name)
        asked = {"model": worker.name, "max_tokens": 1000, "ignore_eos": True}
        with product.chat_stream("Tell me a story.", **asked) as stream:
            assert stream.readline().startswith(b"data: ")

            worker.kill()

            assert b'"error"' in stream.read()
        wait_until(lambda: not is_listening(worker.url), "the engine's end")
        wait_until(lambda: listed_models(product) == [], "the row's expiry", 40)
