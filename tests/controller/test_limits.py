"""Limits as requests meet them: the whole gateway over a real engine."""

import asyncio
from contextlib import aclosing, suppress
from datetime import timedelta
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import F, Sum

from controller.errors import QuotaSpent, RateLimited, SwitchyardError
from controller.gateway import running_gateway
from controller.identity.caller import Caller, chat_caller
from controller.models import LedgerEntry, Limit, ServedModel, Spending
from controller.relay.request import InferenceRequest
from tests.factories import make_key, make_team, make_user, make_worker
from tests.mock_engine import running_mock_engine
from workers.protocol import Task

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "engine-key"
MODEL = "mock-1"
Kind = Limit.Kind

new_worker = sync_to_async(make_worker)
new_key = sync_to_async(make_key)
new_user = sync_to_async(make_user)
new_team = sync_to_async(make_team)
put = sync_to_async(Limit.put)


@pytest.fixture(scope="module")
def running_engine():
    with running_mock_engine(key=KEY, models=(MODEL,), tokens=50) as engine:
        yield engine


@pytest.fixture
def engine(running_engine):
    running_engine.reset()
    return running_engine


@pytest.fixture
async def running(transactional_db, engine, settings):
    settings.REVISION_INTERVAL = timedelta(hours=1)  # `changed` looks itself
    await new_worker(MODEL, address=engine.url, engine_key=KEY)
    async with running_gateway() as running:
        yield running


def make_request(
    text: str = "Hi", *, stream: bool = True, task: Task = Task.CHAT, **body
) -> InferenceRequest:
    content = {"messages": [{"role": "user", "content": text}], "stream": stream}
    return InferenceRequest(
        endpoint="/v1/chat/completions",
        task=task,
        model=MODEL,
        body=content | body,
        stream=stream,
    )


async def limited(running, kind: str, amount: float, **owner) -> Limit:
    """A limit that the gateway has heard of."""
    limit = await put(kind, Decimal(amount), **owner)
    await running._look_for_changes()
    return limit


async def api_caller(**fields) -> Caller:
    key, _secret = await new_key(**fields)
    return Caller(
        face="api",
        identity=f"key:{key.pk}",
        user_id=key.user_id,
        key_id=key.pk,
        team_id=key.team_id,
    )


async def answer(running, caller: Caller, text: str = "Hi", **fields) -> bytes:
    exchange = await running.open(caller, make_request(text, **fields))
    async with aclosing(exchange):
        if not exchange.request.stream:
            return exchange.body()
        return b"".join([block async for block in exchange.events()])


def headers_of(running, caller: Caller) -> dict[str, str]:
    raw = running.limits.headers(caller)
    return {name.decode(): value.decode() for name, value in raw}


async def spend_all(running, caller: Caller) -> None:
    while True:
        await answer(running, caller)


async def billed(running) -> int:
    """Tokens that the ledger has."""
    await running.flush()
    tokens = F("prompt_tokens") + F("completion_tokens")
    total = await LedgerEntry.objects.aaggregate(total=Sum(tokens))
    return total["total"] or 0


async def spent(running) -> int:
    """Tokens or nanos that the budget has lost, once nothing is leased."""
    await running.limits.give_back()
    return (await Spending.objects.aget()).spent


# -- Rates -----------------------------------------------------------------------------


async def test_requests_above_the_rate_are_refused_with_the_time_to_come_back(running):
    caller = await api_caller(name="ci")
    await limited(running, Kind.REQUESTS_PER_MINUTE, 2, key_id=caller.key_id)
    for _ in range(2):
        await answer(running, caller)

    with pytest.raises(RateLimited) as caught:
        await answer(running, caller)

    assert caught.value.message.startswith(
        "Rate limit reached: key 'ci' has 2 requests per minute, 0 left, 1 needed."
    )
    assert 25 <= caught.value.retry_after <= 30
    assert caught.value.status == 429


async def test_others_are_not_held_up_by_a_limit_of_one_key(running):
    caller, other = await api_caller(), await api_caller()
    await limited(running, Kind.REQUESTS_PER_MINUTE, 0, key_id=caller.key_id)

    with pytest.raises(RateLimited, match="may not send any"):
        await answer(running, caller)
    assert await answer(running, other)


async def test_tokens_that_were_not_used_come_back_to_the_rate(running):
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_MINUTE, 10_000, key_id=caller.key_id)

    for _ in range(20):
        await answer(running, caller, max_tokens=4000)

    used = await billed(running)
    remaining = int(headers_of(running, caller)["x-ratelimit-remaining-tokens"])
    assert used == 20 * 51
    assert 10_000 - used <= remaining <= 10_000 - used + 500  # a moment's refill


async def test_the_headers_tell_of_the_limit_that_is_nearest_to_its_end(running):
    caller = await api_caller()
    await limited(running, Kind.REQUESTS_PER_MINUTE, 100, key_id=caller.key_id)
    await limited(running, Kind.REQUESTS_PER_MINUTE, 10, user_id=caller.user_id)

    await answer(running, caller)

    headers = headers_of(running, caller)
    assert headers["x-ratelimit-limit-requests"] == "10"
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-reset-requests"] in ("5.99s", "6s")
    assert "x-ratelimit-limit-tokens" not in headers


async def test_a_changed_limit_holds_for_the_next_request(running):
    caller = await api_caller()
    limit = await limited(running, Kind.REQUESTS_PER_MINUTE, 1, key_id=caller.key_id)
    await answer(running, caller)

    await limited(running, Kind.REQUESTS_PER_MINUTE, 2, key_id=caller.key_id)
    assert await answer(running, caller)
    await sync_to_async(limit.remove)()
    await running._look_for_changes()
    assert await answer(running, caller)


# -- At once ---------------------------------------------------------------------------


async def test_a_user_has_no_more_under_way_than_allowed_whatever_the_face(running):
    caller = await api_caller()
    await limited(running, Kind.CONCURRENT, 2, user_id=caller.user_id)
    chat = chat_caller(caller.user_id)
    slow = make_request("[[tokens=100 interval_ms=20]]")
    first, second = [await running.open(each, slow) for each in (caller, chat)]

    with pytest.raises(RateLimited, match="the limit is 2 at once"):
        await running.open(chat, slow)
    await first.aclose()
    assert await answer(running, chat)
    await second.aclose()


async def test_a_chat_counts_for_the_teams_of_its_user(running):
    user = await new_user()
    team = await new_team(user, name="Research")
    await limited(running, Kind.REQUESTS_PER_MINUTE, 1, team_id=team.pk)
    await answer(running, chat_caller(user.pk))

    with pytest.raises(RateLimited, match="team 'Research'"):
        await answer(running, chat_caller(user.pk))


# -- Budgets ---------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("body", [{"max_tokens": 50}, {}])
async def test_two_hundred_at_once_spend_no_more_than_the_budget_for_a_hundred(
    running, stream, body
):
    caller = await api_caller()
    budget = 100 * 51
    await limited(running, Kind.TOKENS_PER_DAY, budget, key_id=caller.key_id)

    results = await asyncio.gather(
        *(answer(running, caller, stream=stream, **body) for _ in range(200)),
        return_exceptions=True,
    )
    refused = [each for each in results if isinstance(each, QuotaSpent)]

    assert 0 < len(refused) < 200
    assert all(isinstance(each, bytes | QuotaSpent) for each in results)
    assert await billed(running) <= budget * 1.005
    assert await spent(running) == await billed(running)


async def test_a_budget_can_be_used_to_its_end(running):
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_DAY, 1000, key_id=caller.key_id)

    with pytest.raises(QuotaSpent):
        await spend_all(running, caller)

    assert 960 <= await billed(running) <= 1000


async def test_the_engine_is_asked_for_no_more_than_the_budget_can_pay(running, engine):
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_DAY, 60, key_id=caller.key_id)

    text = await answer(running, caller, max_tokens=5000, min_tokens=4000)

    [request] = engine.requests()
    assert request.body["max_tokens"] == request.body["min_tokens"] < 60
    assert b'"finish_reason":"length"' in text.replace(b" ", b"")


async def test_a_stream_of_unknown_length_holds_more_as_it_runs(running):
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_DAY, 5000, key_id=caller.key_id)
    slow = make_request("[[tokens=1500 interval_ms=1]]")

    exchange = await running.open(caller, slow)
    async with aclosing(exchange):
        text = b"".join([block async for block in exchange.events()])

    assert b"t1499" in text
    assert exchange.error is None
    assert exchange.reservation.demand.completions >= 1500
    assert await spent(running) == await billed(running) > 1500


async def test_a_stream_ends_where_no_budget_pays_for_more(running):
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_DAY, 1200, key_id=caller.key_id)

    text = await answer(running, caller, "[[tokens=3000 interval_ms=2]]")

    assert b"insufficient_quota" in text
    assert await billed(running) <= 1200 * 1.005
    assert await spent(running) == await billed(running)


async def test_money_is_spent_at_the_models_prices(running):
    await ServedModel.objects.aupdate(price_prompt=1, price_completion=2)
    await running.reload()
    caller = await api_caller()
    await limited(running, Kind.MONEY_PER_MONTH, Decimal("0.001"), key_id=caller.key_id)

    await answer(running, caller, max_tokens=50)
    assert await spent(running) == 1 * 1000 + 50 * 2000

    with pytest.raises(QuotaSpent, match="money per month"):
        await spend_all(running, caller)


WELL = {
    "done": {},
    "done, whole": {"stream": False},
    "length": {"text": "[[tokens=500]]", "max_tokens": 100},
    "stop string": {"stop": "t7"},
}
BADLY = {
    "refused by the engine": {"text": "[[status=400]]"},
    "failed": {"text": "[[status=500]]"},
    "cut": {"text": "[[tokens=40 cut_after=10 interval_ms=1]]"},
    "error event": {"text": "[[error_after=5]]"},
    "garbage": {"text": "[[garbage=1]]"},
    "time-out": {"text": "[[tokens=40 hang_after=10]]"},
}
ENDINGS = WELL | BADLY


@pytest.mark.parametrize("asked", ENDINGS.values(), ids=ENDINGS)
async def test_every_ending_is_billed_once(running, settings, asked):
    settings.UPSTREAM_IDLE_TIMEOUT = timedelta(seconds=0.5)
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_DAY, 100_000, key_id=caller.key_id)

    with suppress(SwitchyardError):
        await answer(running, caller, **{"max_tokens": 100} | asked)

    assert await spent(running) == await billed(running)
    assert await LedgerEntry.objects.acount() == 1


@pytest.mark.parametrize("asked", WELL.values(), ids=WELL)
async def test_what_is_billed_is_what_the_engine_counted(running, engine, asked):
    caller = await api_caller()

    await answer(running, caller, **asked)

    counted = engine.totals()
    assert counted.generation_tokens > 0
    assert await billed(running) == counted.prompt_tokens + counted.generation_tokens


async def test_a_client_that_leaves_before_the_first_byte_pays_nothing(running, engine):
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_DAY, 100_000, key_id=caller.key_id)

    opening = asyncio.create_task(
        running.open(caller, make_request("[[hang_after=0]]"))
    )
    await asyncio.to_thread(engine.wait_for, started=1)
    opening.cancel()
    await asyncio.wait([opening])

    assert await spent(running) == await billed(running) == 0
    assert await LedgerEntry.objects.acount() == 1


async def test_a_client_that_leaves_pays_for_what_it_got(running):
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_DAY, 100_000, key_id=caller.key_id)
    slow = make_request("[[tokens=100 interval_ms=20]]")

    exchange = await running.open(caller, slow)
    await exchange.read()
    await exchange.aclose()
    await exchange.aclose()

    assert 0 < await spent(running) == await billed(running) < 50


async def test_a_second_settling_counts_nothing(running):
    caller = await api_caller()
    await limited(running, Kind.TOKENS_PER_DAY, 100_000, key_id=caller.key_id)
    exchange = await running.open(caller, make_request())
    async with aclosing(exchange):
        async for _block in exchange.events():
            pass

    exchange.reservation.settle(exchange.record())

    assert await spent(running) == await billed(running)


@pytest.fixture
async def moving(transactional_db, engine, settings):
    """A gateway whose first worker breaks off, so that streams go on with the other."""
    settings.REVISION_INTERVAL = timedelta(hours=1)
    fields = {"engine": "vllm", "engine_key": KEY, "can_continue": True}
    with running_mock_engine(key=KEY, models=(MODEL,), cut_after=7) as broken:
        await new_worker(MODEL, address=broken.url, **fields)
        await new_worker(MODEL, address=engine.url, running=100, **fields)
        async with running_gateway() as running:
            yield running


MOVES = "[[tokens=20 interval_ms=2]]"


async def test_a_stream_that_moves_is_billed_once(moving):
    caller = await api_caller()
    await limited(moving, Kind.TOKENS_PER_DAY, 100_000, key_id=caller.key_id)

    await answer(moving, caller, MOVES)

    assert await spent(moving) == await billed(moving) > 20
    row = await LedgerEntry.objects.aget()
    assert (row.num_moves, row.completion_tokens) == (1, 20)


async def test_a_budget_pays_what_the_ledger_says_though_prices_change(moving):
    await ServedModel.objects.aupdate(price_completion=1)
    caller = await api_caller()
    await limited(moving, Kind.MONEY_PER_DAY, 1, key_id=caller.key_id)
    await moving.reload()
    exchange = await moving.open(caller, make_request(MOVES))

    await ServedModel.objects.aupdate(price_completion=5)
    await moving.reload()
    async with aclosing(exchange):
        async for _block in exchange.events():
            pass

    cost = await spent(moving)
    await moving.flush()
    row = await LedgerEntry.objects.aget()
    assert cost == row.cost_nanos == 20 * 5 * 1000  # as it was when the stream moved
    assert row.num_moves == 1


async def test_a_refused_request_holds_nothing(running):
    caller = await api_caller()
    await limited(running, Kind.REQUESTS_PER_MINUTE, 5, key_id=caller.key_id)
    await limited(running, Kind.CONCURRENT, 5, user_id=caller.user_id)
    await limited(running, Kind.TOKENS_PER_DAY, 1, key_id=caller.key_id)

    for _ in range(10):
        with pytest.raises(QuotaSpent):
            await answer(running, caller)

    headers = headers_of(running, caller)
    assert headers["x-ratelimit-remaining-requests"] == "5"
    assert not running.exchanges
    assert await spent(running) == 0


# -- Rows ------------------------------------------------------------------------------


def test_an_owner_has_one_limit_of_a_kind():
    key, _secret = make_key()
    Limit.put(Kind.TOKENS_PER_DAY, 5, key_id=key.pk)
    Limit.put(Kind.TOKENS_PER_DAY, 7, key_id=key.pk)
    Limit.put(Kind.TOKENS_PER_DAY, 9)

    assert [int(each.amount) for each in Limit.objects.order_by("id")] == [7, 9]
    with pytest.raises(IntegrityError):
        Limit.objects.create(kind=Kind.TOKENS_PER_DAY, amount=1)


@pytest.mark.parametrize(
    ("kind", "amount", "reason"),
    [
        (Kind.TOKENS_PER_DAY, Decimal("1.5"), "whole number"),
        (Kind.MONEY_PER_DAY, 10**10, "At most 1,000,000,000"),
        (Kind.TOKENS_PER_DAY, 10**12, "At most 999,999,999,999"),
        (Kind.CONCURRENT, 1, "set on the key"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_with_the_reason(kind, amount, reason):
    key, _secret = make_key()

    with pytest.raises(ValidationError, match=reason):
        Limit(key=key, kind=kind, amount=amount).clean()


def test_what_no_process_could_read_again_is_not_set():
    with pytest.raises(ValidationError, match="At most"):
        Limit.put(Kind.TOKENS_PER_DAY, 10**16)

    assert not Limit.objects.exists()


def test_a_budget_may_be_as_many_tokens_as_a_large_site_makes():
    limit = Limit.put(Kind.TOKENS_PER_MONTH, 500 * 10**9)

    limit.clean()

    limit.refresh_from_db()
    assert limit.units == 500 * 10**9
