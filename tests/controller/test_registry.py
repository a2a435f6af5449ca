"""Joining, coming back and leaving, with real engines and a real database."""

import asyncio
import socket
import uuid
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils.timezone import now

from controller.fleet import registry
from controller.fleet.errors import WorkerRefused
from controller.fleet.listing import list_models, list_workers
from controller.identity import secrets
from controller.models import (
    JoinToken,
    ModelAlias,
    Placement,
    Revision,
    ServedModel,
    Worker,
)
from tests.controller.fake_engine import (
    FakeEngine,
    answering,
    make_join,
    make_offer,
    running_engine,
)
from tests.factories import make_join_token, make_served_model, make_worker
from workers.protocol import PROTOCOL_VERSION, Capacity, RefusalCode, Task

pytestmark = pytest.mark.django_db(transaction=True)

new_token = sync_to_async(make_join_token)
new_worker = sync_to_async(make_worker)
new_model = sync_to_async(make_served_model)

LISTING = answering(200, b'{"data": [{"id": "llama"}]}')


@pytest.fixture
async def engine():
    async with running_engine() as running:
        yield running


@pytest.fixture
def silent() -> dict[str, object]:
    """The fields of a worker that has been silent for too long."""
    return {"last_heartbeat_at": now() - timedelta(minutes=1)}


def everything_stored() -> list[list[dict[str, object]]]:
    tables = (Worker, ServedModel, ModelAlias, Placement, JoinToken, Revision)
    rows = [list(table.objects.order_by("pk").values()) for table in tables]
    return [[without(row, WHY_REFUSED) for row in each] for each in rows]


# Kept beside the token, for the operator who waits for its worker.
WHY_REFUSED = ("refused_at", "refusal_code", "refusal")


def without(row, names):
    return {name: value for name, value in row.items() if name not in names}


async def refused_join(join, bearer) -> WorkerRefused:
    """The refusal of a join, which must have left no trace but the reason."""
    before = await sync_to_async(everything_stored)()
    with pytest.raises(WorkerRefused) as refused:
        await registry.register(join, bearer)
    assert await sync_to_async(everything_stored)() == before
    return refused.value


# -- The first join -------------------------------------------------------------------


async def test_a_worker_with_a_token_and_a_guarded_engine_is_in_the_fleet(engine):
    token, secret = await new_token()
    engine.models = ("Qwen/Qwen3-8B",)
    offer = make_offer(
        "qwen",
        aliases=["gpt-4"],
        tasks=[Task.CHAT],
        context_length=8192,
        upstream_model="Qwen/Qwen3-8B",
    )
    capacity = Capacity(max_concurrency=16, kv_cache_tokens=100_000)
    join = make_join(
        engine, models=[offer], capacity=capacity, weight=2.5, labels={"gpu": "h100"}
    )
    fleet_before = (await sync_to_async(Revision.current)()).fleet

    registration = await registry.register(join, secret)

    worker = await Worker.objects.aget()
    assert registration.created
    assert registration.answer.worker_id == str(worker.id)
    assert secrets.digest(registration.answer.credential) == worker.credential_digest
    assert (worker.address, worker.resolved_ip) == (engine.url, "127.0.0.1")
    assert (worker.engine_key, worker.join_token_id) == (engine.key, token.pk)
    assert engine.key not in worker.encrypted_engine_key
    assert (worker.max_concurrency, worker.weight) == (16, 2.5)
    assert (worker.is_keyless, worker.is_exclusive) == (False, False)
    placement = await Placement.objects.select_related("served_model").aget()
    assert (placement.served_model.name, placement.tasks) == ("qwen", ["chat"])
    assert placement.context_length == 8192
    assert placement.upstream_model == "Qwen/Qwen3-8B"
    alias = await ModelAlias.objects.aget()
    assert (alias.name, alias.served_model_id) == ("gpt-4", placement.served_model_id)
    assert (await sync_to_async(Revision.current)()).fleet > fleet_before


async def test_two_workers_may_serve_one_model_under_the_same_alias(engine):
    _, secret = await new_token(is_reusable=True)
    offer = make_offer("llama", aliases=["gpt-4"])
    async with running_engine() as other:
        await registry.register(make_join(engine, models=[offer]), secret)
        await registry.register(make_join(other, models=[offer]), secret)

    [model] = await sync_to_async(list_models)()
    assert (model["name"], model["aliases"]) == ("llama", ["gpt-4"])
    assert (model["num_workers"], model["num_live_workers"]) == (2, 2)


# -- Tokens ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bearer", "code"),
    [
        ("", RefusalCode.TOKEN_MISSING),
        ("sy-join-nonsense", RefusalCode.TOKEN_INVALID),
        (secrets.make_secret(secrets.JOIN_TOKEN), RefusalCode.TOKEN_INVALID),
        (secrets.make_secret(secrets.API_KEY), RefusalCode.TOKEN_INVALID),
        (secrets.make_secret(secrets.WORKER_CREDENTIAL), RefusalCode.TOKEN_INVALID),
    ],
)
async def test_without_a_good_token_nothing_is_even_called(engine, bearer, code):
    refused = await refused_join(make_join(engine), bearer)

    assert (refused.code, refused.status) == (code, 401)
    assert not bearer or bearer not in refused.message
    assert engine.asked == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"revoked_at": now()}, RefusalCode.TOKEN_INVALID),
        ({"expires_at": now()}, RefusalCode.TOKEN_EXPIRED),
        ({"used_at": now()}, RefusalCode.TOKEN_USED),
        ({"used_at": now(), "expires_at": now()}, RefusalCode.TOKEN_EXPIRED),
    ],
)
async def test_a_token_past_its_use_is_refused(engine, fields, code):
    _, secret = await new_token(**fields)

    refused = await refused_join(make_join(engine), secret)

    assert refused.code == code
    assert engine.asked == []


async def test_a_one_time_token_joins_one_worker(engine):
    _, secret = await new_token()
    await registry.register(make_join(engine), secret)

    async with running_engine() as other:
        refused = await refused_join(make_join(other), secret)

    assert refused.code == RefusalCode.TOKEN_USED


async def test_of_two_at_once_with_a_one_time_token_exactly_one_is_taken(engine):
    _, secret = await new_token()
    both_challenged = asyncio.Barrier(2)

    async with running_engine() as other:

        async def when_both_are_here(request):
            await both_challenged.wait()  # both found the token unspent by now
            return await LISTING(request)

        engine.with_key["/v1/models"] = when_both_are_here
        other.with_key["/v1/models"] = when_both_are_here
        outcomes = await asyncio.gather(
            registry.register(make_join(engine), secret),
            registry.register(make_join(other), secret),
            return_exceptions=True,
        )

    [refused] = [each for each in outcomes if isinstance(each, WorkerRefused)]
    [taken] = [each for each in outcomes if isinstance(each, registry.Registration)]
    assert refused.code == RefusalCode.TOKEN_USED
    assert [str(each.id) async for each in Worker.objects.all()] == [
        taken.answer.worker_id
    ]


async def test_a_token_revoked_during_the_challenge_is_not_taken(engine):
    token, secret = await new_token()

    async def revoke(request):
        await sync_to_async(token.revoke)()
        return await LISTING(request)

    engine.with_key["/v1/models"] = revoke
    with pytest.raises(WorkerRefused) as refused:
        await registry.register(make_join(engine), secret)

    assert refused.value.code == RefusalCode.TOKEN_INVALID
    assert not await Worker.objects.aexists()


# -- Addresses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["http://8.8.8.8:80", "http://[::ffff:8.8.8.8]:80", "http://worker.example:80"],
)
async def test_an_address_outside_the_networks_is_refused(engine, address, monkeypatch):
    _, secret = await new_token()
    outside = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [outside])

    refused = await refused_join(make_join(engine, address=address), secret)

    assert (refused.code, refused.status) == (RefusalCode.ADDRESS_NOT_ALLOWED, 403)
    assert address in refused.message


async def test_a_token_bound_to_networks_joins_from_these_alone(engine):
    _, elsewhere = await new_token(networks=["10.0.0.0/8"])
    _, here = await new_token(networks=["10.0.0.0/8", "127.0.0.0/8"])

    refused = await refused_join(make_join(engine), elsewhere)
    await registry.register(make_join(engine), here)

    assert refused.code == RefusalCode.ADDRESS_NOT_ALLOWED
    assert "10.0.0.0/8" in refused.message


async def test_the_address_of_a_live_worker_is_taken(engine):
    _, secret = await new_token()
    await new_worker("llama", address=engine.url)

    refused = await refused_join(make_join(engine), secret)

    assert (refused.code, refused.status) == (RefusalCode.ADDRESS_TAKEN, 409)
    assert engine.url in refused.message


async def test_a_silent_worker_is_replaced_at_its_address(engine, silent):
    _, secret = await new_token()
    predecessor = await new_worker("llama", address=engine.url, **silent)

    registration = await registry.register(make_join(engine), secret)

    await predecessor.arefresh_from_db()
    assert predecessor.left_at is not None
    [worker] = await sync_to_async(list_workers)()
    assert str(worker["id"]) == registration.answer.worker_id


# -- The engine -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/invocations"])
async def test_an_open_engine_is_refused_and_its_token_stays_usable(engine, path):
    _, secret = await new_token()
    engine.answers[path] = answering(400)

    refused = await refused_join(make_join(engine), secret)
    del engine.answers[path]
    registration = await registry.register(make_join(engine), secret)

    assert (refused.code, refused.status) == (RefusalCode.ENGINE_OPEN, 422)
    assert registration.created


async def test_an_engine_without_a_key_wants_a_keyless_token(engine):
    _, secret = await new_token()
    _, keyless = await new_token(is_keyless=True)
    engine.answers = {"/v1/models": LISTING, "/v1/completions": answering(200)}
    join = make_join(engine, engine_key="")

    refused = await refused_join(join, secret)
    await registry.register(join, keyless)

    worker = await Worker.objects.aget()
    assert refused.code == RefusalCode.ENGINE_OPEN
    assert "--keyless" in refused.message
    assert worker.is_keyless
    assert worker.engine_key == ""


async def test_a_slow_engine_is_refused_after_the_timeout(engine, settings):
    _, secret = await new_token()
    settings.CHALLENGE_TIMEOUT = timedelta(seconds=0.2)

    async def never(request):
        await asyncio.Event().wait()

    engine.answers["/score"] = never
    refused = await refused_join(make_join(engine), secret)

    assert refused.code == RefusalCode.ENGINE_UNREACHABLE


# -- What the request says ------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"protocol": PROTOCOL_VERSION + 1}, RefusalCode.PROTOCOL_MISMATCH, "version"),
        ({"extra_headers": {"Host": "x"}}, RefusalCode.BAD_REQUEST, "'Host'"),
        ({"extra_headers": {"A b": "x"}}, RefusalCode.BAD_REQUEST, "'A b'"),
        ({"extra_headers": {"A": "x\r\nB: y"}}, RefusalCode.BAD_REQUEST, "'A'"),
        ({"engine_key": "a\nb"}, RefusalCode.BAD_REQUEST, "engine_key"),
        (
            {"capacity": Capacity(max_concurrency=2**40)},
            RefusalCode.BAD_REQUEST,
            "max_concurrency",
        ),
        (
            {"models": [make_offer("llama", context_length=2**40)]},
            RefusalCode.BAD_REQUEST,
            "context_length",
        ),
        (
            {"models": [make_offer("llama"), make_offer("llama")]},
            RefusalCode.BAD_REQUEST,
            "'llama'",
        ),
        (
            {"models": [make_offer("a", aliases=["b"]), make_offer("b")]},
            RefusalCode.BAD_REQUEST,
            "'b'",
        ),
    ],
)
async def test_a_wrong_request_is_refused_naming_what_is_wrong(
    engine, fields, code, word
):
    _, secret = await new_token()
    values = {"address": engine.url, "engine_key": engine.key} | {
        "models": [make_offer("llama")]
    }

    refused = await refused_join(make_join(**values | fields), secret)

    assert refused.code == code
    assert word in refused.message
    assert engine.asked == []


# -- Names ----------------------------------------------------------------------------


async def test_a_name_that_is_an_alias_of_another_model_is_taken(engine):
    _, secret = await new_token()
    await new_model("mistral", aliases=["llama"])

    refused = await refused_join(make_join(engine), secret)

    assert (refused.code, refused.status) == (RefusalCode.MODEL_NAME_TAKEN, 409)
    assert "'llama' is an alias of the model 'mistral'" in refused.message


async def test_an_alias_that_is_the_name_of_another_model_is_taken(engine):
    _, secret = await new_token()
    await new_model("mistral")

    offer = make_offer("llama", aliases=["mistral"])
    refused = await refused_join(make_join(engine, models=[offer]), secret)

    assert refused.code == RefusalCode.MODEL_NAME_TAKEN
    assert "'mistral'" in refused.message


async def test_an_alias_of_another_model_is_taken(engine):
    _, secret = await new_token()
    await new_model("mistral", aliases=["gpt-4"])

    offer = make_offer("llama", aliases=["gpt-4"])
    refused = await refused_join(make_join(engine, models=[offer]), secret)

    assert refused.code == RefusalCode.MODEL_NAME_TAKEN
    assert "'gpt-4' belongs to the model 'mistral'" in refused.message


@pytest.mark.parametrize("owner_is_silent", [False, True])
async def test_a_name_owned_exclusively_is_refused_to_others(
    engine, silent, owner_is_silent
):
    _, secret = await new_token()
    heard = silent if owner_is_silent else {}
    owner = await new_worker("llama", is_exclusive=True, **heard)

    refused = await refused_join(make_join(engine), secret)
    await Worker.objects.filter(pk=owner.pk).aupdate(left_at=now())
    await registry.register(make_join(engine), secret)

    assert refused.code == RefusalCode.MODEL_NAME_TAKEN
    assert owner.address in refused.message


async def test_exclusiveness_is_refused_while_another_live_worker_serves_the_name(
    engine, silent
):
    _, secret = await new_token()
    other = await new_worker("llama")

    refused = await refused_join(make_join(engine, exclusive=True), secret)
    await Worker.objects.filter(pk=other.pk).aupdate(**silent)
    await registry.register(make_join(engine, exclusive=True), secret)

    assert refused.code == RefusalCode.MODEL_NAME_TAKEN
    assert other.address in refused.message
    assert await Worker.objects.filter(is_exclusive=True).acount() == 1


# -- Coming back and leaving ----------------------------------------------------------


async def joined(engine: FakeEngine, **fields) -> registry.Registration:
    _, secret = await new_token()
    return await registry.register(make_join(engine, **fields), secret)


async def test_a_worker_comes_back_with_its_credential_and_no_token(engine):
    first = await joined(engine)
    operators = {"weight": 7.0, "drain_wished": True, "is_enabled": False}
    expired = {"expired_at": now(), "last_heartbeat_at": now() - timedelta(hours=1)}
    await Worker.objects.aupdate(**operators, **expired)
    engine.models = ("llama", "qwen")

    join = make_join(
        engine, "qwen", worker_id=first.answer.worker_id, start_id="2", weight=3.0
    )
    again = await registry.register(join, first.answer.credential)

    worker = await Worker.objects.aget()
    assert not again.created
    assert again.answer.worker_id == first.answer.worker_id
    assert again.answer.credential is None
    assert secrets.digest(first.answer.credential) == worker.credential_digest
    assert (worker.weight, worker.drain_wished, worker.is_enabled) == (7.0, True, False)
    assert (worker.start_id, worker.expired_at, worker.is_live) == ("2", None, True)
    names = Placement.objects.values_list("served_model__name", flat=True)
    assert [name async for name in names] == ["qwen"]


async def test_a_worker_that_comes_back_is_challenged_like_any_other(engine):
    first = await joined(engine)
    engine.answers["/pooling"] = answering(200)

    join = make_join(engine, worker_id=first.answer.worker_id)
    refused = await refused_join(join, first.answer.credential)

    assert refused.code == RefusalCode.ENGINE_OPEN


async def test_a_worker_may_come_back_at_another_address(engine):
    first = await joined(engine)

    async with running_engine() as moved:
        join = make_join(moved, worker_id=first.answer.worker_id)
        await registry.register(join, first.answer.credential)

    worker = await Worker.objects.aget()
    assert worker.address == moved.url


async def test_the_tokens_networks_bind_a_worker_that_comes_back(engine):
    first = await joined(engine)
    await JoinToken.objects.aupdate(networks=["10.0.0.0/8"])

    join = make_join(engine, worker_id=first.answer.worker_id)
    refused = await refused_join(join, first.answer.credential)

    assert refused.code == RefusalCode.ADDRESS_NOT_ALLOWED


async def test_unknown_left_and_wrong_credential_get_the_same_answer(engine):
    first = await joined(engine)
    own = first.answer.credential
    strange = secrets.make_secret(secrets.WORKER_CREDENTIAL)
    known = make_join(engine, worker_id=first.answer.worker_id)
    unknown = make_join(engine, worker_id=str(uuid.uuid4()))
    junk = make_join(engine, worker_id="' OR 1=1")

    refusals = [
        await refused_join(known, strange),
        await refused_join(unknown, own),
        await refused_join(junk, own),
    ]
    num_asked = len(engine.asked)
    await registry.leave(first.worker_id, own)
    with pytest.raises(WorkerRefused) as left_again:
        await registry.leave(first.worker_id, own)
    refusals.append(left_again.value)
    await sync_to_async(Worker.objects.all().remove)()
    refusals.append(await refused_join(known, own))

    assert len(engine.asked) == num_asked
    assert {each.code for each in refusals} == {RefusalCode.WORKER_UNKNOWN}
    assert len({(each.message, each.status) for each in refusals}) == 1


async def test_a_worker_that_left_comes_back_by_its_own_credential(engine):
    """Its one-time token is spent, and every restart begins with a leave."""
    first = await joined(engine)
    await registry.leave(first.worker_id, first.answer.credential)

    join = make_join(engine, worker_id=first.answer.worker_id)
    again = await registry.register(join, first.answer.credential)

    worker = await Worker.objects.aget()
    assert (worker.pk, worker.left_at) == (first.worker_id, None)
    assert not again.created
    assert [row["name"] for row in await sync_to_async(list_models)()] == ["llama"]


async def test_a_worker_that_was_told_to_stop_is_not_stopped_again(engine):
    first = await joined(engine)
    await Worker.objects.aupdate(drain_wished=True, stop_wished=True)
    await registry.leave(first.worker_id, first.answer.credential)

    join = make_join(engine, worker_id=first.answer.worker_id)
    await registry.register(join, first.answer.credential)

    worker = await Worker.objects.aget()
    assert (worker.drain_wished, worker.stop_wished) == (False, False)


async def test_a_worker_that_left_can_be_removed_for_good(engine):
    first = await joined(engine)
    await registry.leave(first.worker_id, first.answer.credential)

    assert await sync_to_async(Worker.objects.all().remove)() == 1
    assert await sync_to_async(Worker.objects.all().remove)() == 0

    join = make_join(engine, worker_id=first.answer.worker_id)
    refused = await refused_join(join, first.answer.credential)
    assert refused.code == RefusalCode.WORKER_UNKNOWN


async def test_a_worker_removed_during_its_challenge_does_not_come_back(engine):
    first = await joined(engine)

    async def remove(request):
        await sync_to_async(Worker.objects.all().remove)()
        return await LISTING(request)

    engine.with_key["/v1/models"] = remove
    join = make_join(engine, worker_id=first.answer.worker_id)
    with pytest.raises(WorkerRefused) as refused:
        await registry.register(join, first.answer.credential)

    assert refused.value.code == RefusalCode.WORKER_UNKNOWN


async def test_a_worker_leaves_with_its_own_credential_alone(engine):
    first = await joined(engine)
    fleet_before = (await sync_to_async(Revision.current)()).fleet

    with pytest.raises(WorkerRefused):
        await registry.leave(
            first.worker_id, secrets.make_secret(secrets.WORKER_CREDENTIAL)
        )
    still_there = await sync_to_async(list_workers)()
    await registry.leave(first.worker_id, first.answer.credential)

    assert len(still_there) == 1
    assert await sync_to_async(list_workers)() == []
    assert (await sync_to_async(Revision.current)()).fleet == fleet_before + 1


# -- Cost -----------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 5])
def test_lists_cost_the_same_queries_however_long(
    num_workers, django_assert_num_queries
):
    for number in range(num_workers):
        make_worker("llama", f"model-of-{number}")

    with django_assert_num_queries(4):
        list_workers()
    with django_assert_num_queries(4):
        list_models()
