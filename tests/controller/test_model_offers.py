"""What operators decide about a model: for whom it is, how it is asked, who answers."""

import asyncio
from collections import Counter
from contextlib import aclosing
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from controller.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    NoWorkerAvailable,
)
from controller.fleet.snapshot import load_snapshot
from controller.gateway import running_gateway
from controller.identity.caller import Caller, chat_caller
from controller.models import Limit, Membership, Revision
from controller.relay.preparing import check_parameters
from tests.controller.relaying import (
    CALLER,
    KEY,
    MODEL,
    ledger_row,
    make_request,
    new_placement,
    new_worker,
    read_all,
)
from tests.factories import (
    make_placement,
    make_served_model,
    make_team,
    make_user,
    make_worker,
)
from tests.mock_engine import running_mock_engine
from tests.servers import free_port
from workers.protocol import Task

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = "mock-2"
new_model = sync_to_async(make_served_model)
put_limit = sync_to_async(Limit.put)


@pytest.fixture(scope="module")
def running_engine():
    with running_mock_engine(key=KEY, models=(MODEL, OTHER), tokens=2) as engine:
        yield engine


@pytest.fixture
def engine(running_engine):
    running_engine.reset()
    return running_engine


@pytest.fixture
def offered(engine):
    """A gateway before the engine, whose model is as the keywords say."""

    async def serve(**fields):
        await new_model(MODEL, **fields)
        await new_placement(await new_worker(address=engine.url), MODEL)
        return running_gateway()

    return serve


async def ask(gateway, caller=CALLER, **fields):
    """The whole answer's exchange, closed."""
    exchange = await gateway.open(caller, make_request(**fields))
    await read_all(exchange)
    return exchange


def body_seen(engine):
    [request] = engine.requests("/v1/chat/completions")
    return request.body


# -- For whom --------------------------------------------------------------------------


@pytest.fixture
def team_model():
    """A team with one member, for whom alone the model is; (team, member)."""
    member = make_user()
    team = make_team(member)
    make_served_model(MODEL).teams.add(team)
    make_placement(make_worker(), MODEL)
    return team, member


def names(gateway, caller):
    return [model.name for model in gateway.models(caller)]


async def test_a_model_of_a_team_is_there_for_its_members_and_keys_alone(team_model):
    team, member = team_model
    insiders = [
        chat_caller(member.pk),
        Caller(face="api", identity="key:1", user_id=99, team_id=team.pk),
        Caller(face="api", identity="key:2", user_id=member.pk),
    ]
    outsiders = [
        chat_caller(member.pk + 1),
        Caller(face="api", identity="guest"),
        # Their other team's key speaks for that one.
        Caller(face="api", identity="key:3", user_id=member.pk, team_id=team.pk + 1),
    ]

    async with running_gateway() as gateway:
        for caller in insiders:
            assert names(gateway, caller) == [MODEL]
            assert gateway.find_model(caller, MODEL).name == MODEL
        for caller in outsiders:
            assert names(gateway, caller) == []
            with pytest.raises(ModelNotFound) as hidden:
                gateway.find_model(caller, MODEL)
            with pytest.raises(ModelNotFound) as unknown:
                gateway.find_model(caller, "none")
            assert hidden.value.message.replace(MODEL, "none") == unknown.value.message


async def test_who_leaves_the_team_loses_its_models_with_the_next_look(team_model):
    _team, member = team_model

    def leave():
        Membership.objects.all().delete()
        Revision.bump("keys")  # as the console's page of teams does

    async with running_gateway() as gateway:
        assert names(gateway, chat_caller(member.pk)) == [MODEL]
        await sync_to_async(leave)()
        await gateway._look_for_changes()

        assert names(gateway, chat_caller(member.pk)) == []


def test_a_snapshot_takes_the_same_queries_for_many_teams(
    django_assert_num_queries,
):
    for number in range(3):
        served = make_served_model(f"model-{number}", fallback=None)
        served.teams.add(make_team(make_user(), make_user()))
        make_placement(make_worker(), served)

    with django_assert_num_queries(7):
        snapshot = load_snapshot()

    assert all(len(model.audience.users) == 2 for model in snapshot.listed)


# -- How it is asked -------------------------------------------------------------------


async def test_what_the_client_left_out_is_the_models_default(offered, engine):
    defaults = {"temperature": 0.2, "max_tokens": 7, "stop": ["END"]}
    async with await offered(default_parameters=defaults) as gateway:
        await ask(gateway)

    assert defaults.items() <= body_seen(engine).items()


async def test_the_clients_own_word_comes_before_the_default(offered, engine):
    messages = [{"role": "user", "content": "Hi"}]
    own = {"temperature": 1, "max_completion_tokens": 3, "messages": messages}
    defaults = {"temperature": 0.2, "max_tokens": 7}
    async with await offered(default_parameters=defaults) as gateway:
        await ask(gateway, body={"model": MODEL, "stream": True, **own})

    seen = body_seen(engine)
    assert (seen["temperature"], seen["max_completion_tokens"]) == (1, 3)
    assert "max_tokens" not in seen


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_the_system_prompt_stands_before_conversations_without_one(
    offered, engine, role
):
    own = [{"role": role, "content": "mine"}, {"role": "user", "content": "Hi"}]
    async with await offered(system_prompt="Be brief.") as gateway:
        await ask(gateway, text="Hello")
        await ask(gateway, body={"model": MODEL, "stream": True, "messages": own})

    first, second = (each.body for each in engine.requests("/v1/chat/completions"))
    assert first["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    assert second["messages"] == own


async def test_a_prompt_beyond_the_operators_limit_is_refused(offered, engine):
    async with await offered(context_limit=100) as gateway:
        with pytest.raises(ContextLengthExceeded) as refused:
            await ask(gateway, text="word " * 100)
        assert gateway.models(CALLER)[0].context_length == 100
        assert not gateway.exchanges

    assert "100 tokens" in refused.value.message
    assert engine.requests() == []


@pytest.mark.parametrize(
    ("task", "field"), [(Task.CHAT, "messages"), (Task.COMPLETIONS, "prompt")]
)
async def test_the_field_that_is_too_long_is_named(offered, task, field):
    words = "word " * 100
    message = [{"role": "user", "content": words}]
    body = {"model": MODEL, field: words if field == "prompt" else message}
    async with await offered(context_limit=100) as gateway:
        with pytest.raises(ContextLengthExceeded) as refused:
            await ask(gateway, body=body, task=task)

    assert refused.value.param == field


async def test_an_answer_ends_where_the_operators_limit_does(offered, engine):
    async with await offered(context_limit=100) as gateway:
        await ask(gateway, text="x" * 200)

    assert 0 < body_seen(engine)["max_tokens"] <= 50


async def test_a_text_without_a_length_is_not_made_longer_by_a_limit(offered, engine):
    body = {"model": MODEL, "prompt": "Hi", "stream": True}
    async with await offered(context_limit=100) as gateway:
        await ask(gateway, body=body, task=Task.COMPLETIONS, endpoint="/v1/completions")

    [request] = engine.requests("/v1/completions")
    assert "max_tokens" not in request.body


@pytest.mark.parametrize(
    "given", [{"temperature": 3}, {"temprature": 1}, {"max_tokens": 0}, ["a"], "a"]
)
def test_parameters_that_no_engine_would_take_are_refused_when_saved(given):
    with pytest.raises(ValueError, match="temperature"):
        check_parameters(given)


# -- Who answers -----------------------------------------------------------------------


@pytest.fixture
async def with_canary():
    """A gateway before one usual worker and one of version 2, which gets the share."""

    async def serve(engine, percent, **canary):
        await new_model(MODEL, canary_percent=percent, canary_labels={"version": "2"})
        usual = await new_worker(address=engine.url)
        fields = {"shares_address": True, "labels": {"version": "2"}} | canary
        new = await new_worker(address=engine.url, **fields)
        await new_placement(usual, MODEL)
        await new_placement(new, MODEL)
        return running_gateway(), usual.pk, new.pk

    return serve


async def chosen(gateway, session=""):
    exchange = await gateway.open(CALLER, make_request(session=session))
    async with aclosing(exchange):
        return exchange.worker.id


async def test_a_canary_gets_its_share_of_the_sessions_and_keeps_them(
    with_canary, engine
):
    running, usual, new = await with_canary(engine, 25)
    async with running as gateway:
        firsts = {n: await chosen(gateway, f"session {n}") for n in range(120)}
        again = {n: await chosen(gateway, f"session {n}") for n in range(30)}

    shares = Counter(firsts.values())
    assert set(shares) == {usual, new}
    assert 15 <= shares[new] <= 45  # of 120, 30 are expected; the draw is fixed
    assert all(firsts[n] == worker for n, worker in again.items())


@pytest.mark.parametrize(("percent", "is_new"), [(0, False), (100, True)])
async def test_a_canary_of_nothing_gets_nothing_and_of_all_everything(
    with_canary, engine, percent, is_new
):
    running, usual, new = await with_canary(engine, percent)
    async with running as gateway:
        workers = {await chosen(gateway) for _ in range(10)}

    assert workers == {new if is_new else usual}


async def test_without_a_live_worker_of_its_own_a_share_goes_to_the_rest(
    with_canary, engine
):
    running, usual, _new = await with_canary(engine, 100, is_enabled=False)
    async with running as gateway:
        assert await chosen(gateway) == usual


async def test_a_canary_that_is_full_is_waited_for(with_canary, engine, settings):
    settings.QUEUE_OVERCOMMIT = 0
    running, _usual, new = await with_canary(engine, 100, max_concurrency=1)
    async with running as gateway:
        first = await gateway.open(CALLER, make_request("[[tokens=9 interval_ms=20]]"))
        second = asyncio.create_task(chosen(gateway))
        await read_all(first)

        assert await second == new


async def test_the_ledger_says_which_requests_the_canary_had(with_canary, engine):
    running, _usual, _new = await with_canary(engine, 100)
    async with running as gateway:
        await ask(gateway)
        row = await ledger_row(gateway)

    assert row.explanation["tries"][0]["canary"]


@pytest.fixture
async def with_fallback(engine):
    """A gateway before a model with these workers, and a fallback that is served."""

    async def serve(*urls, **fields):
        fallback = await new_model(OTHER, **fields)
        model = await new_model(MODEL, fallback=fallback, system_prompt="I am first.")
        for url in urls:
            await new_placement(await new_worker(address=url), model)
        await new_placement(await new_worker(address=engine.url), fallback)
        return running_gateway()

    return serve


async def test_a_model_without_a_worker_is_stood_in_for(with_fallback, engine):
    async with await with_fallback(system_prompt="I am second.") as gateway:
        exchange = await ask(gateway)
        row = await ledger_row(gateway)

    assert exchange.model.name == row.model == OTHER
    assert (row.status, row.explanation["fallback_from"]) == (200, MODEL)
    seen = body_seen(engine)
    assert (seen["model"], seen["messages"][0]["content"]) == (OTHER, "I am second.")


async def test_a_model_whose_workers_fail_is_stood_in_for(with_fallback):
    async with await with_fallback(f"http://127.0.0.1:{free_port()}") as gateway:
        exchange = await ask(gateway)

        assert exchange.model.name == OTHER
        failed, answered = exchange.explanation.as_dict()["tries"]
        assert failed["failure"]
        assert "failure" not in answered


async def test_a_fallback_is_asked_within_its_own_limit(with_fallback, engine):
    async with await with_fallback(context_limit=100) as gateway:
        await ask(gateway, text="x" * 200)
        with pytest.raises(NoWorkerAvailable, match=MODEL):
            await ask(gateway, text="word " * 100)

    assert 0 < body_seen(engine)["max_tokens"] <= 50


async def test_a_model_that_answers_is_not_stood_in_for(with_fallback, engine):
    async with await with_fallback(engine.url + "/") as gateway:
        exchange = await ask(gateway)

    assert exchange.model.name == MODEL
    assert not exchange.explanation.fallback_from


async def test_a_request_that_no_engine_would_take_is_not_stood_in_for(
    with_fallback, engine
):
    async with await with_fallback(engine.url + "/") as gateway:
        with pytest.raises(InvalidRequest):
            await ask(gateway, text="[[status=400]]")

    assert len(engine.requests("/v1/chat/completions")) == 1


async def test_where_the_fallback_fails_too_the_first_reason_is_told(with_fallback):
    async with await with_fallback() as gateway:
        with pytest.raises(NoWorkerAvailable, match=MODEL):
            await ask(gateway, text="[[status=500]]")
        row = await ledger_row(gateway)

    assert (row.status, row.error_code) == (503, "no_worker_available")
    assert row.explanation["fallback_from"] == MODEL


async def test_a_fallback_must_fit_into_what_is_left_of_a_budget(with_fallback, engine):
    short = make_request().body
    async with await with_fallback(price_completion=1000) as gateway:
        await put_limit("money_per_day", Decimal("0.05"))  # 50 tokens of the fallback
        await gateway._look_for_changes()
        await ask(gateway, body=short | {"max_tokens": 20})

        with pytest.raises(NoWorkerAvailable, match=MODEL):
            await ask(gateway, body=short | {"max_tokens": 51})

    assert len(engine.requests("/v1/chat/completions")) == 1


async def test_nobody_is_given_a_fallback_that_they_may_not_use(with_fallback):
    mine = Caller(face="api", identity="key:1", allowed_models=frozenset({MODEL}))
    async with await with_fallback() as gateway:
        with pytest.raises(NoWorkerAvailable):
            await ask(gateway, caller=mine)

        assert gateway.models(mine) == []
        assert [model.name for model in gateway.models(CALLER)] == [MODEL, OTHER]
