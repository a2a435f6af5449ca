"""`/controller/` over real HTTP: the lean handler on uvicorn, the worker's client."""

import asyncio
import io
import logging
import socket
import uuid
from datetime import timedelta

import aiohttp
import msgspec
import pytest
import uvicorn
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper
from django.test import Client
from django.utils.timezone import now

from controller.gateway import Gateway, running_gateway
from controller.identity import secrets
from controller.lean import LeanHandler
from controller.models import Worker
from tests.controller.fake_engine import answering, make_join, running_engine
from tests.factories import (
    make_join_token,
    make_key,
    make_operator,
    make_user,
    make_worker,
)
from workers.controller_client import ControllerClient, Refused
from workers.protocol import Heartbeat, RefusalCode, WorkerState

pytestmark = pytest.mark.django_db(transaction=True)

READY = Heartbeat(state=WorkerState.READY, start_id="start-1", running=2, waiting=3)
JSON = {"Content-Type": "application/json"}


class Controller:
    """A served gateway, and ways to call it."""

    def __init__(self, port: int, running: Gateway, http: aiohttp.ClientSession):
        self.port, self.gateway, self.http = port, running, http
        self.url = f"http://127.0.0.1:{port}"
        self.worker = ControllerClient(http, self.url)

    async def call(self, method, path, bearer="", body=None, **headers):
        """(status, decoded body, headers) of the answer."""
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        url = f"{self.url}/controller/{path}"
        async with self.http.request(
            method, url, data=body and io.BytesIO(body), headers=JSON | headers
        ) as response:
            answer = await response.read()
            return response.status, msgspec.json.decode(answer), response.headers


@pytest.fixture
def idle_loops(settings):
    """Ask for it before `controller`: the gateway's loops then do nothing meanwhile."""
    settings.REVISION_INTERVAL = settings.LEDGER_FLUSH_INTERVAL = timedelta(hours=1)


@pytest.fixture
async def controller():
    async with running_gateway() as running, aiohttp.ClientSession() as http:
        listener = socket.create_server(("127.0.0.1", 0))
        handler = LeanHandler(django_settings.LEAN_URLCONF)
        config = uvicorn.Config(handler, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield Controller(listener.getsockname()[1], running, http)
        await http.close()
        server.should_exit = True
        await serving


@pytest.fixture
async def engine():
    async with running_engine() as running:
        yield running


new_worker = sync_to_async(make_worker)


async def new_secret(**fields) -> str:
    _, secret = await sync_to_async(make_join_token)(**fields)
    return secret


def credential_fields() -> tuple[str, dict[str, str]]:
    """A credential, and the fields of the worker who has it."""
    credential = secrets.make_secret(secrets.WORKER_CREDENTIAL)
    return credential, {"credential_digest": secrets.digest(credential)}


async def refusal_of(call) -> str:
    with pytest.raises(Refused) as refused:
        await call
    return refused.value.code


# -- A worker's life ------------------------------------------------------------------


async def test_a_worker_joins_is_dispatched_to_beats_and_leaves(controller, engine):
    worker = controller.worker

    joined = await worker.join(make_join(engine), await new_secret())
    model = controller.gateway.fleet.models()[0]  # at once: no revision is waited for
    wishes = await worker.heartbeat(joined.worker_id, joined.credential, READY)

    load = controller.gateway.fleet.loads[uuid.UUID(joined.worker_id)]
    assert model.name == "llama"
    assert (wishes.drain, wishes.stop) == (False, False)
    assert load.reported == 5

    await worker.leave(joined.worker_id, joined.credential)
    assert controller.gateway.fleet.models() == []
    left = worker.heartbeat(joined.worker_id, joined.credential, READY)
    assert await refusal_of(left) == RefusalCode.WORKER_UNKNOWN


async def test_a_first_join_is_201_and_a_return_200(controller, engine):
    body = msgspec.json.encode(make_join(engine))
    status, first, headers = await controller.call(
        "POST", "workers/", await new_secret(), body
    )
    again = make_join(engine, worker_id=first["worker_id"])
    status_again, second, _ = await controller.call(
        "POST", "workers/", first["credential"], msgspec.json.encode(again)
    )

    assert (status, status_again) == (201, 200)
    assert headers["Cache-Control"] == "no-store"
    assert second["worker_id"] == first["worker_id"]
    assert second["credential"] is None


async def test_an_answer_with_a_credential_survives_a_failing_reload(
    controller, engine, monkeypatch
):
    async def fail():
        raise OperationalError("away")

    monkeypatch.setattr(controller.gateway, "reload", fail)

    joined = await controller.worker.join(make_join(engine), await new_secret())

    assert joined.credential


# -- Heartbeats -----------------------------------------------------------------------


async def test_a_heartbeat_makes_no_query(idle_loops, controller, monkeypatch):
    credential, fields = credential_fields()
    row = await new_worker("llama", **fields)
    await controller.gateway.reload()
    queries = []

    with monkeypatch.context() as patch:
        patch.setattr(
            CursorWrapper, "execute", lambda _, sql, *rest: queries.append(sql)
        )
        for _ in range(3):
            await controller.worker.heartbeat(str(row.id), credential, READY)

    assert queries == []


async def test_a_worker_whom_the_operator_drains_is_told(controller):
    credential, fields = credential_fields()
    row = await new_worker("llama", **fields)
    await sync_to_async(Worker.objects.all().change)(drain_wished=True)
    await controller.gateway.reload()

    wishes = await controller.worker.heartbeat(str(row.id), credential, READY)

    assert wishes.drain


async def test_a_worker_whom_the_operator_removed_is_unknown(controller):
    credential, fields = credential_fields()
    row = await new_worker("llama", **fields)
    await controller.gateway.reload()
    await Worker.objects.aupdate(left_at=now())
    await controller.gateway.reload()

    beat = controller.worker.heartbeat(str(row.id), credential, READY)

    assert await refusal_of(beat) == RefusalCode.WORKER_UNKNOWN


async def test_another_workers_credential_is_refused(controller):
    credential, fields = credential_fields()
    await new_worker("llama", **fields)
    other = await new_worker("llama")
    await controller.gateway.reload()

    beat = controller.worker.heartbeat(str(other.id), credential, READY)
    leave = controller.worker.leave(str(other.id), credential)

    assert await refusal_of(beat) == RefusalCode.WORKER_UNKNOWN
    assert await refusal_of(leave) == RefusalCode.WORKER_UNKNOWN
    assert await Worker.objects.filter(left_at=None).acount() == 2


async def test_a_worker_that_another_process_admitted_is_heard(controller):
    credential, fields = credential_fields()
    row = await new_worker("llama", **fields)

    await controller.worker.heartbeat(str(row.id), credential, READY)

    assert controller.gateway.fleet.loads[row.id].reported == 5


async def test_many_unknown_workers_cost_one_reload(controller, monkeypatch):
    num_reloads = 0
    reload = controller.gateway.reload

    async def counted():
        nonlocal num_reloads
        num_reloads += 1
        await reload()

    monkeypatch.setattr(controller.gateway, "reload", counted)
    credential, _ = credential_fields()
    beats = [
        controller.worker.heartbeat(str(uuid.uuid4()), credential, READY)
        for _ in range(20)
    ]
    refusals = await asyncio.gather(*beats, return_exceptions=True)
    typing_error = controller.worker.heartbeat(str(uuid.uuid4()), "sy-worker-x", READY)

    assert {each.code for each in refusals} == {RefusalCode.WORKER_UNKNOWN}
    assert await refusal_of(typing_error) == RefusalCode.WORKER_UNKNOWN
    assert num_reloads == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"nonsense",
        b"[" * 100_000,
        b'{"state": "ready", "start_id": "1", "running": -1}',
        b'{"state": "ready", "start_id": "1", "running": 99999999999}',
        b'{"state": "ready", "start_id": "1", "prompt_tokens_total": 1%s}'
        % (b"0" * 30),
        b'{"state": "asleep", "start_id": "1"}',
    ],
)
async def test_a_wrong_heartbeat_is_refused_and_not_heard(controller, body):
    credential, fields = credential_fields()
    row = await new_worker("llama", **fields)

    path = f"workers/{row.id}/heartbeat/"
    status, answer, _ = await controller.call("POST", path, credential, body)

    assert (status, answer["error"]["code"]) == (400, RefusalCode.BAD_REQUEST)
    assert controller.gateway.fleet.loads[row.id].heartbeat is None


# -- Refusals -------------------------------------------------------------------------


async def test_a_refusal_has_the_contracts_shape_and_stands_in_the_log(
    controller, engine, caplog
):
    secret = await new_secret()
    engine.answers["/detokenize"] = answering(200, b"the answer's own words")

    with caplog.at_level(logging.WARNING, "controller.views"):
        status, answer, _ = await controller.call(
            "POST", "workers/", secret, msgspec.json.encode(make_join(engine))
        )

    [record] = caplog.records
    assert status == 422
    assert answer["error"]["type"] == "worker_refused"
    assert answer["error"]["code"] == RefusalCode.ENGINE_OPEN
    assert "/detokenize" in answer["error"]["message"]
    assert answer["error"]["message"] in record.getMessage()
    for unsaid in ("own words", secret, engine.key):
        assert unsaid not in record.getMessage() + str(answer)
    assert not await Worker.objects.aexists()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, RefusalCode.TOKEN_MISSING),
        ({"Authorization": "Basic abc"}, RefusalCode.TOKEN_INVALID),
        ({"Authorization": "Bearer sy-join-x"}, RefusalCode.TOKEN_INVALID),
    ],
)
async def test_a_stranger_is_refused_before_its_body_is_read(controller, headers, code):
    reader, writer = await asyncio.open_connection("127.0.0.1", controller.port)
    lines = ["POST /controller/workers/ HTTP/1.1", "Host: x", "Content-Length: 9999999"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.readuntil(b"}}")
    writer.close()

    assert answer.startswith(b"HTTP/1.1 401")
    assert b"www-authenticate: Bearer" in answer
    assert code.encode() in answer


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", RefusalCode.BAD_REQUEST),
        (b"{", RefusalCode.BAD_REQUEST),
        (b"[" * 100_000, RefusalCode.BAD_REQUEST),
        (b'{"address": 7}', RefusalCode.BAD_REQUEST),
        (b" " * (2**20 + 1), RefusalCode.BAD_REQUEST),
        (b'{"protocol": 99, "where": "?"}', RefusalCode.PROTOCOL_MISMATCH),
    ],
)
async def test_a_body_that_is_no_join_is_refused(controller, body, code):
    secret = await new_secret()

    status, answer, _ = await controller.call("POST", "workers/", secret, body)

    assert (status, answer["error"]["code"]) == (400, code)


async def test_a_nul_is_refused_before_the_database_refuses_it(controller, engine):
    join = make_join(engine, labels={"rack": "a\0b"})

    refused = controller.worker.join(join, await new_secret())

    assert await refusal_of(refused) == RefusalCode.BAD_REQUEST
    assert engine.asked == []


async def test_a_method_that_is_not_of_the_contract_is_405(controller):
    status, answer, _ = await controller.call("PUT", "workers/")

    assert status == 405
    assert answer["error"]["message"]


# -- The operators' lists -------------------------------------------------------------


@pytest.mark.parametrize("path", ["workers/", "models/"])
async def test_lists_answer_to_a_key_with_the_scope_fleet(controller, path):
    await new_worker("llama")
    _, key = await sync_to_async(make_key)(scopes=["fleet"])
    _, other = await sync_to_async(make_key)(scopes=["inference"])

    status, answer, _ = await controller.call("GET", path, key)
    refused, reason, _ = await controller.call("GET", path, other)

    assert (status, len(answer["data"])) == (200, 1)
    assert (refused, reason["error"]["code"]) == (403, "insufficient_permissions")
    assert "`fleet`" in reason["error"]["message"]


async def test_lists_hold_no_secret(controller):
    row = await new_worker("llama", engine_key="the-engine-key")
    _, key = await sync_to_async(make_key)(scopes=["fleet"])

    _, answer, _ = await controller.call("GET", "workers/", key)

    assert answer["data"][0]["id"] == str(row.id)
    for secret in ("the-engine-key", row.encrypted_engine_key, row.credential_digest):
        assert secret not in str(answer)


@pytest.mark.parametrize("path", ["workers/", "models/"])
async def test_lists_answer_to_a_staff_session_and_to_no_other(controller, path):
    def session_of(user) -> str:
        client = Client()
        client.force_login(user)
        return client.cookies[django_settings.SESSION_COOKIE_NAME].value

    staff = await sync_to_async(lambda: session_of(make_operator()))()
    powerless = await sync_to_async(lambda: session_of(make_user(is_staff=True)))()
    user = await sync_to_async(lambda: session_of(make_user()))()

    answers = [
        await controller.call("GET", path, Cookie=f"sessionid={session}")
        for session in (staff, powerless, user, "nonsense")
    ]

    assert [status for status, _, _ in answers] == [200, 401, 401, 401]


async def test_lists_do_not_answer_to_strangers_or_workers(controller, engine):
    joined = await controller.worker.join(make_join(engine), await new_secret())
    strange = secrets.make_secret(secrets.API_KEY)

    answers = [
        await controller.call("GET", "workers/", bearer)
        for bearer in ("", strange, joined.credential)
    ]

    assert [status for status, _, _ in answers] == [401, 401, 401]
