"""The policies: who is chosen among candidates with these weights and loads."""

import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.fleet.policies import POLICIES, Policy, Pool
from controller.fleet.policies.backlog import relative_backlog
from controller.fleet.policies.least_load import LeastLoad
from controller.fleet.policies.lottery import Lottery
from controller.fleet.policies.pool import COMPARED_WHOLE
from controller.fleet.policies.prefix_affinity import READING_WEIGHT, PrefixAffinity
from controller.fleet.policies.prefix_index import PrefixIndex
from controller.fleet.policies.round_robin import RoundRobin
from controller.fleet.policies.sessions import Sessions
from controller.fleet.policies.shortest_queue import ShortestQueue
from controller.fleet.prompts import hash_chain
from controller.fleet.wishes import Wish
from controller.models import ServedModel
from workers.protocol import Task

WISH = Wish(task=Task.CHAT)


@dataclass(eq=False)
class Standing:
    """A candidate that does not come from a fleet."""

    weight: float = 1.0
    queue_length: int = 0
    prefill_tokens: int = 0
    kv_cache_usage: float = 0.0
    slow_start: float = 1.0
    start_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.worker = SimpleNamespace(id=uuid.uuid4(), weight=self.weight)

    @property
    def capacity(self) -> float:
        return self.weight * self.slow_start


weights = st.sampled_from([0.5, 1.0, 2.0, 3.0])
candidates = st.builds(
    Standing,
    weight=weights,
    queue_length=st.integers(0, 20),
    prefill_tokens=st.integers(0, 5000),
    kv_cache_usage=st.floats(0, 1),
    slow_start=st.sampled_from([0.1, 0.5, 1.0]),
)
small_fleets = st.lists(candidates, min_size=1, max_size=COMPARED_WHOLE)
fleets = st.lists(candidates, min_size=1, max_size=60)
policies = st.sampled_from(sorted(POLICIES))


def make(policy: type[Policy], seed: int = 1) -> Policy:
    return policy(random.Random(seed))


def shares(policy: Policy, among: list[Standing], times: int = 4000) -> list[float]:
    """The share of each candidate in so many choices."""
    pool = Pool(among)
    chosen = Counter(policy.choose(pool, WISH).candidate for _ in range(times))
    return [chosen[candidate] / times for candidate in among]


def prompt(text: str) -> Wish:
    """The wish of a prompt with this text, which should be longer than a block."""
    return Wish(
        task=Task.CHAT, prompt_tokens=len(text) // 4, chain=hash_chain(text, salt=7)
    )


def test_operators_can_choose_every_policy(settings):
    assert {*ServedModel.Policy.values} == {"", *POLICIES}


@given(policies, fleets, st.integers())
def test_every_policy_chooses_one_of_the_pool(name, among, seed):
    policy = make(POLICIES[name], seed)
    pool = Pool(among)

    for _ in range(5):
        choice = policy.choose(pool, WISH)
        policy.note(choice.candidate, WISH)
        assert choice.candidate in among


# -- The pool --------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_a_pool_holds_who_was_added_and_not_taken_out(steps):
    everyone = [Standing(weight=1 + number % 3) for number in range(10)]
    pool, expected = Pool(), set()

    for is_added, number in steps:
        candidate = everyone[number]
        if is_added:
            pool.add(candidate)
            expected.add(candidate)
        else:
            pool.discard(candidate.worker.id)
            expected.discard(candidate)

        assert set(pool) == expected
        assert len(pool) == len(expected)
        for each in everyone:
            found = each if each in expected else None
            assert pool.find(each.worker.id) is found
            assert pool.find_start(each.start_id) is found


def test_a_pool_is_drawn_from_by_weight():
    among = [Standing(weight) for weight in (1, 2, 5)]
    pool, rng = Pool(among), random.Random(1)

    drawn = Counter(pool.draw(rng) for _ in range(4000))

    found = [drawn[candidate] / 4000 for candidate in among]
    assert found == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.03)


# -- By chance and in turn -------------------------------------------------------------


def test_the_lottery_follows_the_weights_and_not_the_queues():
    among = [Standing(1), Standing(2, queue_length=50), Standing(5, queue_length=9)]

    found = shares(make(Lottery), among)
    assert found == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.03)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 40))
def test_round_robin_gives_each_its_weight_in_every_round(numbers, num_before):
    among = [Standing(weight) for weight in numbers]
    policy, pool = make(RoundRobin), Pool(among)
    for _ in range(num_before):
        policy.choose(pool, WISH)

    turns = [policy.choose(pool, WISH).candidate for _ in range(sum(numbers))]

    assert [Counter(turns)[candidate] for candidate in among] == numbers


def test_round_robin_spreads_the_turns_of_a_heavy_worker():
    heavy, *others = [Standing(4), Standing(1), Standing(1)]
    policy, pool = make(RoundRobin), Pool([heavy, *others])

    turns = [policy.choose(pool, WISH).candidate is heavy for _ in range(12)]

    assert not any(turns[at : at + 4] == [True] * 4 for at in range(12))
    assert not any(turns[at : at + 2] == [False] * 2 for at in range(12))


def test_round_robin_remembers_no_weight_that_is_gone():
    policy = make(RoundRobin)
    for number in range(1, 200):
        policy.choose(Pool([Standing(weight=number)]), WISH)

    assert len(policy._credits) == len(policy._turns) == 1


@pytest.mark.parametrize("kind", [Lottery, RoundRobin])
def test_a_worker_that_starts_slowly_is_passed_over(kind):
    among = [Standing(slow_start=0.25), Standing(), Standing()]

    first, *_ = shares(make(kind), among)

    assert first == pytest.approx(1 / 9, abs=0.03)


# -- By load ---------------------------------------------------------------------------


@given(small_fleets)
def test_the_shortest_queue_is_measured_by_what_a_worker_can_do(among):
    chosen = make(ShortestQueue).choose(Pool(among), WISH).candidate

    least = min(each.queue_length / each.capacity for each in among)
    assert chosen.queue_length / chosen.capacity == pytest.approx(least)


def test_equal_queues_are_drawn_by_lot():
    among = [Standing(1, 1), Standing(2, 2), Standing(1, 3)]

    found = shares(make(ShortestQueue), among)

    assert found == pytest.approx([0.5, 0.5, 0], abs=0.03)


@given(small_fleets)
def test_least_load_finds_the_least_backlog(among):
    chosen = make(LeastLoad).choose(Pool(among), WISH).candidate

    assert relative_backlog(chosen) == min(map(relative_backlog, among))


def test_least_load_counts_prompts_where_the_shortest_queue_counts_requests():
    long_prompt = Standing(queue_length=1, prefill_tokens=20_000)
    short_prompts = Standing(queue_length=3, prefill_tokens=300)
    pool = Pool([long_prompt, short_prompts])

    assert make(ShortestQueue).choose(pool, WISH).candidate is long_prompt
    assert make(LeastLoad).choose(pool, WISH).candidate is short_prompts


def test_least_load_avoids_a_full_kv_cache():
    full = Standing(queue_length=2, kv_cache_usage=0.97)
    busy = Standing(queue_length=9, kv_cache_usage=0.5)

    assert make(LeastLoad).choose(Pool([full, busy]), WISH).candidate is busy


@pytest.mark.parametrize("kind", [ShortestQueue, LeastLoad, PrefixAffinity])
def test_in_a_large_fleet_a_nearly_idle_worker_is_found(kind):
    among = [Standing(queue_length=number % 100) for number in range(1000)]
    policy, pool = make(kind), Pool(among)

    queues = [policy.choose(pool, WISH).candidate.queue_length for _ in range(500)]

    assert sum(queues) / 500 < 18  # drawn by lot it were 50


# -- By what is cached -----------------------------------------------------------------

SYSTEM = "You are a helpful assistant. " * 200
QUESTION = "What is the capital of France? " * 20


def test_a_prompt_goes_where_its_beginning_went():
    among = [Standing() for _ in range(8)]
    policy, pool = make(PrefixAffinity), Pool(among)
    policy.note(among[5], prompt(SYSTEM))
    among[5].queue_length = 3  # the busiest: wins only by what it knows

    choice = policy.choose(pool, prompt(SYSTEM + QUESTION))

    assert choice.candidate is among[5]
    assert choice.reason == "warm"
    assert choice.cached_tokens == pytest.approx(len(SYSTEM) / 4, rel=0.1)


def test_a_warm_worker_is_left_once_waiting_costs_more_than_reading_again():
    warm, cold = Standing(), Standing(prefill_tokens=1000)
    policy, pool = make(PrefixAffinity), Pool([warm, cold])
    policy.note(warm, prompt(SYSTEM))
    saved = READING_WEIGHT * prompt(SYSTEM).prompt_tokens

    warm.prefill_tokens = saved
    assert policy.choose(pool, prompt(SYSTEM)).candidate is warm
    warm.prefill_tokens = saved + 1001
    choice = policy.choose(pool, prompt(SYSTEM))

    assert choice.candidate is cold
    assert choice.reason == "least load"
    assert choice.cached_tokens == 0


def test_a_fleet_that_is_behind_everywhere_keeps_its_caches():
    among = [Standing(queue_length=500) for _ in range(4)]
    policy, pool = make(PrefixAffinity), Pool(among)
    policy.note(among[2], prompt(SYSTEM))

    assert policy.choose(pool, prompt(SYSTEM)).candidate is among[2]


def test_of_two_warm_workers_the_less_busy_is_taken():
    busy, free, cold = Standing(queue_length=4), Standing(queue_length=2), Standing()
    policy = make(PrefixAffinity)
    for each in (busy, free):
        policy.note(each, prompt(SYSTEM))

    choice = policy.choose(Pool([busy, free, cold]), prompt(SYSTEM + QUESTION))

    assert choice.candidate is free


def test_a_worker_that_was_started_anew_is_cold():
    restarted, other = Standing(queue_length=1), Standing()
    policy = make(PrefixAffinity)
    policy.note(restarted, prompt(SYSTEM))
    restarted.start_id = "another start"

    choice = policy.choose(Pool([restarted, other]), prompt(SYSTEM + QUESTION))

    assert choice.candidate is other


@given(small_fleets, st.text(max_size=2000))
def test_where_nothing_is_shared_affinity_is_least_load(among, text):
    chosen = make(PrefixAffinity).choose(Pool(among), prompt(text)).candidate

    least = min(relative_backlog(each) for each in among)
    assert relative_backlog(chosen) == pytest.approx(least, abs=1e-6)


def test_the_index_knows_how_deep_each_engine_is():
    index = PrefixIndex(max_blocks=100)
    index.note((1, 2, 3), "short")
    index.note((1, 2, 3, 4, 5), "long")
    index.note((1, 9), "fork")

    assert index.depths((1, 2, 3, 4, 5, 6)) == {"short": 3, "long": 5, "fork": 1}
    assert index.depths((8, 1)) == {}
    assert index.depths(()) == {}


chains = st.lists(st.integers(0, 30), max_size=12).map(tuple)


@given(st.lists(st.tuples(chains, st.sampled_from("abcdef")), max_size=40))
def test_the_index_stays_within_its_bound(notes):
    index = PrefixIndex(max_blocks=10)
    for chain, start_id in notes:
        index.note(chain, start_id)
        assert len(index) <= 10
        if chain:  # the latest prompt is never what goes
            assert index.depths(chain[:10])[start_id] == len(chain[:10])


def test_the_index_stays_within_its_bound_under_random_prompts_for_ever(settings):
    settings.PREFIX_INDEX_BLOCKS = 500
    rng = random.Random(1)
    among = [Standing() for _ in range(40)]
    policy, pool = make(PrefixAffinity), Pool(among)
    for _ in range(5000):
        wish = Wish(
            task=Task.CHAT,
            prompt_tokens=1000,
            chain=tuple(rng.getrandbits(60) for _ in range(rng.randrange(30))),
        )
        policy.note(policy.choose(pool, wish).candidate, wish)

        assert policy.num_remembered <= 500


def test_the_end_of_a_prompt_is_forgotten_before_its_beginning():
    index = PrefixIndex(max_blocks=4)
    index.note((1, 2, 3), "engine")
    index.note((7, 8), "engine")

    assert index.depths((1, 2, 3)) == {"engine": 2}


def test_the_holders_of_a_popular_block_are_bounded():
    index = PrefixIndex(max_blocks=10)
    for number in range(1000):
        index.note((1,), f"engine {number}")

    depths = index.depths((1,))
    assert len(depths) == 16
    assert "engine 999" in depths


# -- By session ------------------------------------------------------------------------


def test_a_session_stays_with_its_worker_while_others_are_not_much_freer():
    mine, other = Standing(), Standing()
    pool, sessions = Pool([mine, other]), Sessions()
    wish = Wish(task=Task.CHAT, prompt_tokens=2000, session="key:1 abc")
    assert sessions.choose(pool, wish) is None
    sessions.note(mine, wish)

    assert sessions.choose(pool, wish).candidate is mine
    assert sessions.choose(pool, Wish(task=Task.CHAT, session="key:2 abc")) is None
    mine.prefill_tokens = READING_WEIGHT * 2000
    assert sessions.choose(pool, wish).candidate is mine
    mine.prefill_tokens += 1
    assert sessions.choose(pool, wish) is None


def test_a_session_whose_worker_is_gone_begins_anew():
    gone, other = Standing(), Standing()
    sessions, wish = Sessions(), Wish(task=Task.CHAT, session="key:1 abc")
    sessions.note(gone, wish)

    assert sessions.choose(Pool([other]), wish) is None


def test_requests_without_a_session_are_not_remembered():
    sessions = Sessions()
    sessions.note(Standing(), WISH)

    assert len(sessions) == 0


def test_the_oldest_sessions_are_forgotten():
    sessions, worker = Sessions(max_sessions=3), Standing()
    wishes = [Wish(task=Task.CHAT, session=f"s{number}") for number in range(5)]
    for wish in wishes:
        sessions.note(worker, wish)

    found = [sessions.choose(Pool([worker]), wish) is not None for wish in wishes]
    assert found == [False, False, True, True, True]
