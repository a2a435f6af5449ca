"""A real engine that stands still under load, as over a stuck driver or disk."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests import engines
from tests.product import wait_until

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
