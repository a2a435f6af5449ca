"""Requests at once that several web processes share, over a real Redis."""

import asyncio
import itertools
import signal
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from redis.commands.core import AsyncScript

from controller.limits import guarded_redis, neighbours, shared_places
from controller.limits.guarded_redis import GuardedRedis
from controller.limits.neighbours import Neighbours
from controller.limits.shared_places import RedisPlaces, SharedPlaces
from tests.clocks import Clock
from tests.controller.test_shared_rates import listening_at
from tests.servers import running_redis

pytestmark = pytest.mark.redis

numbers = itertools.count(1)


class Process:
    """What a web process has of places, and its loops, which a test calls."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self.redis = GuardedRedis(url, clock)
        self.neighbours = Neighbours(self.redis)
        self.store = RedisPlaces(self.redis, self.neighbours.holder)

    def places(self, name: str, amount: int) -> SharedPlaces:
        return SharedPlaces(name, amount, self.store, self._clock)

    async def exchange(self, in_flight=()) -> neighbours.Told | None:
        told = await self.neighbours.exchange(dict(in_flight))
        self.store.follow(told)
        await self.store.settle()
        return told


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def new_process(redis_server, settings, clock):
    settings.WEB_PROCESSES = 2
    settings.REDIS_TIMEOUT = timedelta(seconds=20)
    processes = []

    def make(url: str = redis_server) -> Process:
        processes.append(Process(url, clock))
        return processes[-1]

    yield make
    for process in processes:
        await process.neighbours.leave()
        await process.redis.close()


@pytest.fixture
def no_recall(monkeypatch):
    """Who finds no place is refused at once: nobody answers a call for one here."""
    monkeypatch.setattr(shared_places, "RECALL_SECONDS", 0)


def shared(amount: int, *processes: Process) -> list[SharedPlaces]:
    """The places of a new owner, as each process has them."""
    name = f"limit:{next(numbers)}"
    return [process.places(name, amount) for process in processes]


async def enter(places: SharedPlaces) -> bool:
    return places.enter_here() or await places.enter()


async def fill(places: SharedPlaces) -> int:
    """How many can be taken."""
    taken = 0
    while await enter(places):
        taken += 1
    return taken


async def test_processes_together_never_let_more_in_than_there_are_places(new_process):
    one, other = shared(10, new_process(), new_process())

    entries = [enter(places) for _ in range(100) for places in (one, other)]
    entered = sum(await asyncio.gather(*entries))

    assert entered == one.under_way + other.under_way == 10


async def test_one_process_may_have_all_places_that_nobody_else_fills(
    new_process, no_recall
):
    busy, idle = shared(10, new_process(), new_process())

    assert await fill(busy) == 10
    assert await fill(idle) == 0


async def test_places_that_another_process_keeps_come_back_when_they_are_wanted(
    new_process, clock
):
    first, second = new_process(), new_process()
    one, other = shared(10, first, second)
    await first.exchange()
    assert await enter(one)
    one.leave()  # and keeps its part, five
    assert await asyncio.gather(*(enter(other) for _ in range(5))) == [True] * 5

    waiting = asyncio.create_task(enter(other))
    async with asyncio.timeout(20):
        while first.store._held:
            await first.exchange()
    clock.seconds += 1

    assert await waiting
    assert await fill(other) == 4


async def test_whoever_stays_within_its_part_asks_redis_once(new_process, monkeypatch):
    (places,) = shared(10, new_process())
    asked = 0
    take = RedisPlaces.take

    async def counted(*args):
        nonlocal asked
        asked += 1
        return await take(*args)

    monkeypatch.setattr(RedisPlaces, "take", counted)
    for _ in range(1000):
        assert await enter(places)
        places.leave()

    assert asked == 1


async def test_the_places_of_a_process_that_died_are_free_after_its_life(
    new_process, no_recall, monkeypatch, clock
):
    dead, living = shared(4, new_process(), new_process())
    assert await fill(dead) == 4
    assert await fill(living) == 0
    monkeypatch.setattr(shared_places, "LIFE_SECONDS", 1)
    clock.seconds += 1
    assert not await enter(dead)  # which was its last sign of life

    async with asyncio.timeout(20):
        while not await enter(living):
            clock.seconds += 1  # it asks again

    assert await fill(living) == 3


async def test_a_process_lives_on_by_each_exchange(new_process):
    process = new_process()
    holder = process.neighbours.holder
    lives_until = partial(process.redis._redis.hget, neighbours.PROCESSES, holder)
    await process.exchange()
    before = await lives_until()

    await process.exchange()

    assert float(await lives_until()) > float(before)


async def test_a_redis_that_forgot_everything_is_told_who_holds_what(
    new_process, no_recall, clock
):
    process = new_process()
    one, other = shared(4, process, new_process())
    assert await fill(one) == 4
    await process.exchange()

    await process.redis._redis.flushdb()
    await process.exchange()

    assert await fill(other) == 0


async def test_places_that_nobody_used_for_long_go_back(new_process, clock):
    process = new_process()
    one, other = shared(4, process, new_process())
    assert await enter(one)
    one.leave()

    clock.seconds += shared_places.IDLE_SECONDS + 1
    await process.store.tend()
    await process.store.settle()

    assert not process.store._held
    assert await fill(other) == 4


async def test_more_places_are_there_at_once_and_fewer_for_whoever_comes_next(
    new_process, no_recall, clock
):
    (places,) = shared(4, new_process())
    assert await fill(places) == 4

    places.resize(6)
    clock.seconds += 1
    assert await fill(places) == 2
    places.resize(2)
    for _ in range(4):
        places.leave()
        assert not places.enter_here()
    places.leave()

    assert places.enter_here()


async def test_while_redis_is_slow_or_gone_each_process_has_its_part(
    new_process, no_recall, settings, clock, tmp_path, caplog
):
    with ExitStack() as stack:
        url = stack.enter_context(running_redis(tmp_path))
        server = listening_at(urlsplit(url).port)
        process, second = new_process(url), new_process(url)
        one, other = shared(10, process, second)
        for each in (process, second):
            await each.exchange()
        assert await enter(one)
        settings.REDIS_TIMEOUT = timedelta(seconds=0.25)
        server.send_signal(signal.SIGSTOP)
        try:
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await process.exchange() is None
            assert (await fill(one), await fill(other)) == (4, 5)
            assert loop.time() - began < 2
        finally:
            server.send_signal(signal.SIGCONT)
        settings.REDIS_TIMEOUT = timedelta(seconds=20)
        clock.seconds += guarded_redis.BREAKER_SECONDS + 1
        for each in (process, second):
            await each.exchange()

        assert not one.is_alone
        assert (await fill(one), await fill(other)) == (0, 0)
        for _ in range(5):
            one.leave()
        await process.exchange()
        clock.seconds += 1
        assert await fill(other) == 5
        assert caplog.text.count("Redis fails") == 2  # each process says it once


async def test_processes_hear_of_each_others_requests_on_each_worker(new_process):
    one, two, three = new_process(), new_process(), new_process()
    worker, other = uuid4(), uuid4()
    await one.exchange({worker: 3})
    await two.exchange({worker: 2, other: 1})

    told = await three.exchange()

    assert told is not None
    assert told.in_flight == {worker: 5, other: 1}


async def test_a_process_that_left_or_died_has_nothing_under_way(
    new_process, monkeypatch
):
    dead, left, living = new_process(), new_process(), new_process()
    worker = uuid4()
    await left.exchange({worker: 1})
    await dead.exchange({worker: 1})

    await left.neighbours.leave()

    told = await living.exchange()
    assert told is not None
    assert told.in_flight == {worker: 1}
    monkeypatch.setattr(neighbours, "LIFE_SECONDS", 1)
    await dead.exchange({worker: 1})
    monkeypatch.undo()
    async with asyncio.timeout(20):
        while told is None or told.in_flight:
            told = await living.exchange()


async def test_whoever_is_cancelled_ends_though_the_client_goes_on(
    new_process, monkeypatch
):
    """The client swallows a cancellation once in a thousand times."""
    answer = asyncio.Event()

    async def stubborn(*_args):
        while not answer.is_set():
            with suppress(asyncio.CancelledError):
                await answer.wait()
        return [1, [], []]

    monkeypatch.setattr(AsyncScript, "__call__", stubborn)
    exchanging = asyncio.create_task(new_process().exchange())
    await asyncio.sleep(0)
    exchanging.cancel()

    async with asyncio.timeout(20):
        await asyncio.wait([exchanging])
    assert exchanging.cancelled()
    monkeypatch.undo()
    answer.set()
