"""Rates that several web processes share, over a real Redis."""

import asyncio
import itertools
import signal
from contextlib import ExitStack
from datetime import timedelta
from urllib.parse import urlsplit

import psutil
import pytest

from controller.limits import guarded_redis
from controller.limits.guarded_redis import GuardedRedis
from controller.limits.shared_rates import RedisRates, SharedBucket
from tests.clocks import Clock
from tests.servers import running_redis

pytestmark = pytest.mark.redis

numbers = itertools.count(1)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def processes(redis_server, settings, clock):
    """What two web processes have of Redis."""
    settings.WEB_PROCESSES = 2
    settings.REDIS_TIMEOUT = timedelta(seconds=20)
    clients = [GuardedRedis(redis_server, clock) for _ in range(2)]
    yield [RedisRates(client) for client in clients]
    for client in clients:
        await client.close()


def buckets(processes, per_minute, clock) -> list[SharedBucket]:
    """The same new rate in each process."""
    limit_id = next(numbers)
    return [SharedBucket(limit_id, per_minute, each, clock) for each in processes]


def listening_at(port: int) -> psutil.Process:
    """Our child that listens there; Redis writes its port into its own title."""
    [process] = [
        each
        for each in psutil.Process().children()
        if f":{port}" in " ".join(each.cmdline())
    ]
    return process


async def take_all(bucket: SharedBucket) -> int:
    """How often one can be taken."""
    taken = 0
    while await bucket.take(1):
        taken += 1
    return taken


async def test_processes_together_have_one_allowance(processes, clock):
    one, other = buckets(processes, 600, clock)

    takes = [bucket.take(1) for _ in range(600) for bucket in (one, other)]
    taken = sum(await asyncio.gather(*takes))

    assert 590 <= taken <= 610  # a moment's worth comes back meanwhile


async def test_one_process_may_use_nearly_all_of_it(processes, clock):
    busy, idle = buckets(processes, 600, clock)
    await idle.take(1)

    assert await take_all(busy) >= 600 - 600 // 20 - 1


async def test_what_one_process_did_not_use_another_can(processes, clock):
    one, other = buckets(processes, 10_000, clock)
    assert await one.take(9_900)
    assert not await other.take(5_000)

    one.give(9_800)
    await one.share()
    clock.seconds += 1

    assert await other.take(5_000)


async def test_what_was_used_beyond_what_was_foreseen_is_everybodys_debt(
    processes, clock
):
    one, other = buckets(processes, 1000, clock)
    assert await one.take(500)

    one.give(-2000)
    await one.share()

    assert not await other.take(1)


async def test_redis_is_asked_once_for_many_requests(processes, clock, monkeypatch):
    one, _other = buckets(processes, 60_000, clock)
    asked = 0
    take = RedisRates.take

    async def counted(*args):
        nonlocal asked
        asked += 1
        return await take(*args)

    monkeypatch.setattr(RedisRates, "take", counted)
    for _ in range(1000):
        assert await one.take(1)

    assert asked == 1


async def test_a_slice_from_long_ago_is_given_up(processes, clock):
    one, other = buckets(processes, 600, clock)
    await one.take(1)  # and holds 29 more

    clock.seconds += 60
    taken = await take_all(other) + await take_all(one)

    assert taken <= 610


async def test_without_redis_each_process_has_its_own_part(settings, clock, caplog):
    settings.WEB_PROCESSES = 2
    redis = GuardedRedis("redis://127.0.0.1:9", clock)
    [bucket] = buckets([RedisRates(redis)], 600, clock)

    assert await take_all(bucket) == 300
    assert caplog.text.count("Redis fails") == 1
    await redis.close()


async def test_without_redis_a_request_for_more_than_the_part_waits_and_is_served(
    settings, clock
):
    settings.WEB_PROCESSES = 4
    redis = GuardedRedis("redis://127.0.0.1:9", clock)
    [bucket] = buckets([RedisRates(redis)], 600, clock)

    assert await bucket.take(500)  # with a part of 150, of which 350 are a debt now
    assert not await bucket.take(1)
    assert bucket.seconds_until(500) == pytest.approx(500 / 150 * 60)
    clock.seconds += bucket.seconds_until(500)

    assert await bucket.take(500)
    await redis.close()


async def test_a_slow_redis_holds_requests_up_once_and_no_longer(
    tmp_path, settings, clock, caplog
):
    settings.WEB_PROCESSES = 2
    settings.REDIS_TIMEOUT = timedelta(seconds=20)
    with ExitStack() as stack:
        url = stack.enter_context(running_redis(tmp_path))
        server = listening_at(urlsplit(url).port)
        redis = GuardedRedis(url, clock)
        [bucket] = buckets([RedisRates(redis)], 600, clock)
        assert await bucket.take(30)
        settings.REDIS_TIMEOUT = timedelta(seconds=0.25)
        server.send_signal(signal.SIGSTOP)
        try:
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await bucket.take(1)
            first = loop.time() - began
            assert await take_all(bucket) == 299
            rest = loop.time() - began - first
        finally:
            server.send_signal(signal.SIGCONT)
        settings.REDIS_TIMEOUT = timedelta(seconds=20)
        clock.seconds += guarded_redis.BREAKER_SECONDS + 1
        await bucket.take(1)

        assert 0.25 <= first < 2
        assert rest < 2
        assert not redis.is_failing
        assert "Redis answers again" in caplog.text
        await redis.close()
