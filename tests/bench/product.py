"""Starts the product for a measurement, joins the mock engine to it, and weighs it."""

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from tests.mock_engine import MockEngine
from workers.protocol import (
    Capacity,
    Heartbeat,
    JoinAnswer,
    JoinRequest,
    ModelOffer,
    WorkerState,
)

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
_START_ID = "bench"


class Credentials(Struct):
    """What the product wrote into `credentials.json`, as far as needed here."""

    api_key: str
    join_token: str


class Usage(Struct):
    """CPU and memory of all the product's processes together."""

    cpu_seconds: float
    peak_rss_bytes: int


class Product:
    """A running product of its own folder, on its own port."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, credentials: Credentials
    ) -> None:
        self.process = process
        self.port = port
        self.credentials = credentials

    def usage(self) -> Usage:
        """Return user and system time so far, and the sum of peak resident sizes."""
        root = psutil.Process(self.process.pid)
        cpu_seconds, peak_rss_bytes = 0.0, 0
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # a child may just end
                times = process.cpu_times()
                cpu_seconds += times.user + times.system
                peak_rss_bytes += _peak_rss_bytes(process.pid)
        return Usage(cpu_seconds, peak_rss_bytes)

    def call(
        self, method: str, path: str, credential: str, content: object = None
    ) -> tuple[int, bytes]:
        """Return status and body of one HTTP call; raises OSError if none answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {
            "Authorization": f"Bearer {credential}",
            "Content-Type": "application/json",
        }
        try:
            body = None if content is None else msgspec.json.encode(content)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def running_product(var_dir: Path, server: str, core: int) -> Iterator[Product]:
    """Set up a product in `var_dir` and serve it on `core` until the context ends.

    Raises `RuntimeError` with the last lines of its log if it does not become ready.
    """
    # The operator's own database and Redis are not for measuring.
    not_ours = {"DATABASE_URL", "REDIS_URL", "PORT"}
    env = {name: value for name, value in os.environ.items() if name not in not_ours}
    env["VAR_DIR"] = str(var_dir)
    for command in ("migrate", "bootstrap"):
        manage = [sys.executable, "manage.py", command]
        subprocess.run(manage, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    credentials = msgspec.json.decode(
        (var_dir / "credentials.json").read_bytes(), type=Credentials
    )
    port = free_port()
    log_path = var_dir / "serve.log"
    with log_path.open("wb") as log, on_core(core):
        process = subprocess.Popen(
            [
                *(sys.executable, "manage.py", "serve", "--host", "127.0.0.1"),
                *("--port", str(port), "--server", server),
            ],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        product = Product(process, port, credentials)
        _wait_until_ready(product, log_path)
        yield product
    finally:
        _end(process)


@contextmanager
def joined(product: Product, engine: MockEngine) -> Iterator[None]:
    """Keep the mock engine registered with the product, heartbeats included."""
    request = JoinRequest(
        address=engine.url,
        engine="mock",
        start_id=_START_ID,
        models=[
            ModelOffer(name=name, context_length=engine.config.context_length)
            for name in engine.config.models
        ],
        capacity=Capacity(max_concurrency=1024),
        engine_key=engine.config.key,
    )
    status, body = product.call(
        "POST", "/controller/workers/", product.credentials.join_token, request
    )
    if status != 201:
        raise RuntimeError(f"joining was answered {status}: {body.decode()}")
    answer = msgspec.json.decode(body, type=JoinAnswer)
    has_ended = threading.Event()
    _beat(product, engine, answer)
    _wait_until_served(product, engine.config.models[0])
    beating = threading.Thread(
        target=_keep_beating, args=(product, engine, answer, has_ended)
    )
    beating.start()
    try:
        yield
    finally:
        has_ended.set()
        beating.join()


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pin processes started in this context, and all their threads, to one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _keep_beating(
    product: Product, engine: MockEngine, answer: JoinAnswer, has_ended: threading.Event
) -> None:
    while not has_ended.wait(answer.heartbeat_seconds):
        _beat(product, engine, answer)


def _beat(product: Product, engine: MockEngine, answer: JoinAnswer) -> None:
    # Not the engine's real numbers: reading them would load the measured core's peer.
    heartbeat = Heartbeat(
        state=WorkerState.READY, start_id=_START_ID, models=list(engine.config.models)
    )
    path = f"/controller/workers/{answer.worker_id}/heartbeat/"
    try:
        status, body = product.call("POST", path, answer.credential or "", heartbeat)
    except OSError as exc:  # under full load one may be late; the next one counts
        print(f"a heartbeat failed: {exc}", file=sys.stderr)
        return
    if status != 200:
        print(f"a heartbeat was answered {status}: {body!r}", file=sys.stderr)


def _wait_until_ready(product: Product, log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and product.process.poll() is None:
        try:
            if product.call("GET", "/healthz", "")[0] == 200:
                return
        except OSError:
            pass  # not listening yet
        time.sleep(0.1)  # another process's start: there is no event to wait for
    last_lines = "\n".join(log_path.read_text(errors="replace").splitlines()[-20:])
    raise RuntimeError(f"the product did not start:\n{last_lines}")


def _wait_until_served(product: Product, model: str) -> None:
    """Return once a completion comes back; RuntimeError if none does in time."""
    deadline = time.monotonic() + START_SECONDS
    content = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    answer: tuple[int, bytes] = (0, b"")
    while time.monotonic() < deadline:
        answer = product.call(
            "POST", "/v1/chat/completions", product.credentials.api_key, content
        )
        if answer[0] == 200:
            return
        time.sleep(0.2)  # until another process has read the new revision
    raise RuntimeError(f"the joined engine is not served: {answer}")


def _peak_rss_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError as exc:
        raise psutil.NoSuchProcess(pid) from exc
    match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
