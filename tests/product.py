"""Runs the product as its users do: `manage.py serve` in a process of its own.

Tests and the benchmark use it alike::

    set_up(var_dir)
    with (
        running_mock_engine() as engine,
        running_product(var_dir, "--server=daphne") as product,
        joined(product, engine) as worker,
    ):
        product.call("GET", "/v1/models", product.credentials.api_key)
"""

import http.client
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import psycopg
from msgspec import Struct
from psycopg.rows import dict_row

from tests.mock_engine import MockEngine
from tests.servers import free_port
from workers.protocol import (
    Capacity,
    Heartbeat,
    JoinAnswer,
    JoinRequest,
    ModelOffer,
    WorkerState,
)

ROOT = Path(__file__).resolve().parents[1]
CHAT_PATH = "/v1/chat/completions"
START_SECONDS = 120
STOP_SECONDS = 20
# What the environment of the test run may say of another installation.
NOT_OURS = {"DATABASE_URL", "REDIS_URL", "PORT", "ROOT_PATH", "DJANGO_SETTINGS_MODULE"}

QUICK = {
    "LEDGER_FLUSH_INTERVAL": "0.1",
    "REVISION_INTERVAL": "0.1",
    "REDIS_TIMEOUT": "2",
    "SHUTDOWN_NOTICE": "0.05",
}


class Credentials(Struct):
    """What the product wrote into `credentials.json`, as far as needed here."""

    username: str
    password: str
    api_key: str
    join_token: str


class Response(Struct):
    """An answer that has come in whole."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @classmethod
    def of(cls, response: http.client.HTTPResponse) -> Self:
        names = {name.lower(): value for name, value in response.getheaders()}
        return cls(response.status, names, response.read())

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return self.json["error"]


class Product:
    """A running product of its own folder, on its own port."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        var_dir: Path,
        tls: bool,
        database_url: str = "",
    ) -> None:
        self.process = process
        self.port = port
        self.var_dir = var_dir
        self.log = log_of(var_dir)
        self.credentials = credentials_of(var_dir)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self._tls = tls
        self.database_url = database_url
        """Of a PostgreSQL database; empty for the file in its folder."""

    def connect(self, timeout: float = 15) -> http.client.HTTPConnection:
        """A connection that is the caller's to close. Certificates are not checked."""
        if not self._tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=timeout, context=context
        )

    def call(
        self,
        method: str,
        path: str,
        credential: str = "",
        content: object = None,
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Response:
        """The answer to one HTTP call; raises OSError if none comes.

        `content` is sent as JSON, bytes as they are. The call has a connection of its
        own if none is given.
        """
        sent = {"Content-Type": "application/json"} | (headers or {})
        if credential:
            sent["Authorization"] = f"Bearer {credential}"
        body = content
        if content is not None and not isinstance(content, bytes):
            body = msgspec.json.encode(content)
        used = connection or self.connect()
        try:
            used.request(method, path, body, sent)
            return Response.of(used.getresponse())
        finally:
            if used is not connection:
                used.close()

    def chat(self, text: str = "Hi", **fields: Any) -> Response:
        """The answer to a chat request with the product's first key."""
        key = self.credentials.api_key
        return self.call("POST", CHAT_PATH, key, chat_content(text, **fields))

    @contextmanager
    def chat_connection(
        self,
        text: str,
        client_request_id: str = "",
        key: str | None = None,
        **fields: Any,
    ) -> Iterator[http.client.HTTPConnection]:
        """A connection that has sent a chat request, and is closed at the latest
        when the context ends. `key` is the product's first unless given."""
        headers = {"X-Request-Id": client_request_id}
        if secret := self.credentials.api_key if key is None else key:
            headers["Authorization"] = f"Bearer {secret}"
        body = msgspec.json.encode(chat_content(text, **fields))
        with closing(self.connect()) as connection:
            connection.request("POST", CHAT_PATH, body, headers)
            yield connection

    @contextmanager
    def chat_stream(
        self, text: str, client_request_id: str = "", **fields: Any
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer of a stream from its headers on; leaving the context early is
        leaving the stream. More of `fields` is as for `chat_connection`."""
        sent = self.chat_connection(text, client_request_id, stream=True, **fields)
        with sent as connection, connection.getresponse() as response:
            yield response

    def ledger(self) -> list[dict[str, Any]]:
        """All rows that are written by now, oldest first."""
        return self.query("SELECT * FROM controller_ledgerentry ORDER BY id")

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Rows of the product's database, which is only read."""
        if self.database_url:
            with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
                return connection.execute(statement).fetchall()  # type: ignore[arg-type]
        path = f"file:{self.var_dir / 'db.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=10)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(statement)]

    def ledger_row(self, **values: Any) -> dict[str, Any]:
        """The one row with these values, as soon as it is written."""

        def found() -> list[dict[str, Any]]:
            return [row for row in self.ledger() if values.items() <= row.items()]

        rows = wait_until(found, f"a ledger row with {values}")
        assert len(rows) == 1, rows
        return rows[0]

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`manage` on this product's data."""
        place = {"DATABASE_URL": self.database_url} if self.database_url else {}
        return manage(self.var_dir, *arguments, env=place)

    def stop(self) -> int:
        """Stop as an operator does; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


class JoinedWorker:
    """A mock engine's place in the fleet, and the heartbeats that keep it there."""

    def __init__(
        self,
        product: Product,
        engine: MockEngine,
        like: str = "mock",
        max_concurrency: int = 1024,
        **offer: Any,
    ) -> None:
        self._product = product
        self._like = like
        self._capacity = Capacity(max_concurrency=max_concurrency)
        self._models = list(engine.config.models)
        self._offer = offer
        self._start_id = uuid.uuid4().hex
        self.load: Callable[[], dict[str, Any]] = dict
        """Gives what a heartbeat says of its load: fields of `Heartbeat`."""
        self.address = engine.url
        self.answer = self._join(engine)
        self._has_ended = threading.Event()
        self._beating = threading.Thread(target=self._keep_beating)
        self.beat()
        self._beating.start()

    def _join(self, engine: MockEngine) -> JoinAnswer:
        context_length = engine.config.context_length
        request = JoinRequest(
            address=engine.url,
            engine=self._like,
            can_continue=self._like != "mock",
            start_id=self._start_id,
            models=[
                ModelOffer(name=name, context_length=context_length, **self._offer)
                for name in self._models
            ],
            capacity=self._capacity,
            engine_key=engine.config.key,
        )
        token = self._product.credentials.join_token
        response = self._product.call("POST", "/controller/workers/", token, request)
        if response.status != 201:
            raise RuntimeError(f"joining was answered {response}")
        return msgspec.json.decode(response.body, type=JoinAnswer)

    def beat(self, connection: http.client.HTTPConnection | None = None) -> None:
        """Be heard once; over `connection`, if it must be one process that hears."""
        # Not the engine's real numbers: reading them would load the peer of what the
        # benchmark measures.
        heartbeat = Heartbeat(
            state=WorkerState.READY,
            start_id=self._start_id,
            models=self._models,
            **self.load(),
        )
        path = f"/controller/workers/{self.answer.worker_id}/heartbeat/"
        credential = self.answer.credential or ""
        try:
            response = self._product.call(
                "POST", path, credential, heartbeat, connection=connection
            )
        except OSError as exc:  # under full load one may be late; the next one counts
            print(f"a heartbeat failed: {exc}", file=sys.stderr)
            return
        if response.status != 200:
            print(f"a heartbeat was answered {response}", file=sys.stderr)

    def stop_beating(self) -> None:
        """Be silent from now on."""
        self._has_ended.set()
        self._beating.join()

    def leave(self) -> None:
        """Leave the fleet for good."""
        self.stop_beating()
        path = f"/controller/workers/{self.answer.worker_id}/"
        response = self._product.call("DELETE", path, self.answer.credential or "")
        assert response.status == 204, response

    def _keep_beating(self) -> None:
        while not self._has_ended.wait(self.answer.heartbeat_seconds):
            self.beat()


def set_up(var_dir: Path, env: dict[str, str] | None = None) -> None:
    """Make what a new installation has: tables, first operator, key and join token."""
    for command in ("migrate", "bootstrap"):
        completed = manage(var_dir, command, env=env)
        if completed.returncode != 0:
            raise RuntimeError(f"{command} failed:\n{completed.stdout}")


def manage(
    var_dir: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a management command ended with; its messages are all in `stdout`."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(var_dir, env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_SECONDS,
    )


@contextmanager
def running_product(
    var_dir: Path,
    *flags: str,
    env: dict[str, str] | None = None,
    command: str = "serve",
    port: int | None = None,
) -> Iterator[Product]:
    """Serve what was set up in `var_dir` until the context ends.

    `command` may be `runserver`. Raises `RuntimeError` with the last lines of its log
    if it does not become ready.
    """
    port = port or free_port()
    listen = f"--port={port}" if command == "serve" else f"127.0.0.1:{port}"
    with log_of(var_dir).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", command, listen, *flags],
            cwd=ROOT,
            env=environment(var_dir, env),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    tls = any(flag.startswith("--ssl-certfile") for flag in flags)
    product = Product(process, port, var_dir, tls, (env or {}).get("DATABASE_URL", ""))
    try:
        _wait_until_ready(product)
        yield product
    finally:
        _end(process)


@contextmanager
def quick_product(var_dir: Path, *flags: str, **env: str) -> Iterator[Product]:
    """`running_product` with short intervals, so that tests wait for little."""
    with running_product(var_dir, *flags, env=QUICK | env) as product:
        yield product


@contextmanager
def joined(
    product: Product, engine: MockEngine, like: str = "mock", **offer: Any
) -> Iterator[JoinedWorker]:
    """Keep the mock engine registered with the product, heartbeats included.

    It goes on with others' streams if it is said to be `like` an engine that does,
    such as `vllm`. `max_concurrency` is its capacity, and the rest of `offer` says more
    of each of its models: `tasks`, `aliases`.
    """
    worker = JoinedWorker(product, engine, like, **offer)
    try:
        wait_until_listed(product, engine.config.models[0])
        yield worker
    finally:
        worker.stop_beating()


def listed_models(product: Product) -> list[str]:
    """The models that the product would dispatch to now."""
    response = product.call("GET", "/v1/models", product.credentials.api_key)
    assert response.status == 200, response
    return [model["id"] for model in response.json["data"]]


def model_named(product: Product, name: str) -> dict[str, Any]:
    """The model's object as `/v1/models/NAME` answers it, or the error's body."""
    path = f"/v1/models/{name}"
    return product.call("GET", path, product.credentials.api_key).json


def change_adapters(product: Product, parent: str, **sources: Path) -> None:
    """Have the operator enable these adapters of the model and no others."""
    named = {name: str(source) for name, source in sources.items()}
    code = f"""
from controller.models import Adapter, Revision, ServedModel
parent = ServedModel.objects.get(name={parent!r})
Adapter.objects.update(is_enabled=False)
for name, source in {named!r}.items():
    fields = dict(parent=parent, source=source, is_enabled=True)
    Adapter.objects.update_or_create(name=name, defaults=fields)
Revision.bump("fleet")
"""
    done = manage(product.var_dir, "shell", "--command", code)
    assert done.returncode == 0, done.stdout


def wait_until_listed(product: Product, model: str) -> None:
    wait_until(lambda: model in listed_models(product), f"{model} being served")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """The first true value of `condition`; AssertionError naming `what` if none comes.

    For what happens in another process, of which no event is to be had.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.03)
    return value


def chat_content(text: str, **fields: Any) -> dict[str, Any]:
    """The body of a chat request with one message."""
    messages = [{"role": "user", "content": text}]
    return {"model": "mock-1", "messages": messages, **fields}


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The JSON events of a stream, in order; `[DONE]` as an empty one."""
    payloads = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
    return [{} if p == b"[DONE]" else msgspec.json.decode(p) for p in payloads]


def credentials_of(var_dir: Path) -> Credentials:
    content = (var_dir / "credentials.json").read_bytes()
    return msgspec.json.decode(content, type=Credentials)


def environment(var_dir: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    """Ours for a product in `var_dir`, without what we say of other installations."""
    inherited = {k: v for k, v in os.environ.items() if k not in NOT_OURS}
    return inherited | {"VAR_DIR": str(var_dir)} | (env or {})


def log_of(var_dir: Path) -> Path:
    return var_dir / "serve.log"


def _wait_until_ready(product: Product) -> None:
    def is_ready() -> bool:
        if product.process.poll() is not None:
            lines = product.log.read_text(errors="replace").splitlines()[-20:]
            raise RuntimeError("the product did not start:\n" + "\n".join(lines))
        try:
            return product.call("GET", "/readyz").status == 200
        except OSError:
            return False  # not listening yet

    wait_until(is_ready, "the product's start", START_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
