"""The order of the policies and its cause, in a small fleet for a short time."""

from dataclasses import replace

import pytest

from tests.bench.report import markers
from tests.simulation.costs import Costs
from tests.simulation.engine import Engine, Events, Job
from tests.simulation.kv_cache import KVCache
from tests.simulation.report import (
    BLOCK,
    DOCUMENT,
    IMAGES,
    STYLES,
    worst_beside_least_load,
)
from tests.simulation.rounds import POLICIES, SESSIONS, scenario
from tests.simulation.simulate import Outcome, simulate
from tests.simulation.traces import SHARED, UNSHARED, Conversation, Workload

COSTS = Costs()


def run(way: str, workload: Workload, rate: float) -> Outcome:
    short = replace(
        scenario(way, workload, 4, rate), seconds=300.0, warm_up_seconds=100.0
    )
    return simulate(short)


def finish(*jobs: tuple[float, Conversation]) -> list[tuple[float, float, int]]:
    """(first token, last token, cached tokens) of first turns begun at these times."""
    events = Events()
    engine = Engine(events, COSTS)
    seen: list[list[float]] = [[] for _ in jobs]
    for (moment, conversation), times in zip(jobs, seen, strict=True):

        def note(job: Job, times: list[float] = times) -> None:
            times[:] = [*times[:1], events.now, job.cached_tokens]

        job = Job(conversation.turn(0), on_first=note, on_end=note)
        events.at(moment, lambda job=job: engine.submit(job))
    events.run(1000.0)
    return [tuple(times) for times in seen]


def conversation(number: int, group: int, system: int, answer: int) -> Conversation:
    return Conversation(number, group, system, [(16, answer)])


# -- The engine is the one that was measured -------------------------------------------


def test_a_cold_prompt_takes_what_was_measured():
    [(first, _, cached)] = finish((0.0, conversation(1, 1, 2800, 2)))

    assert cached == 0
    assert first == pytest.approx(9.1, rel=0.02)  # two steps, of 2,816 tokens in all


@pytest.mark.parametrize(("together", "tokens"), [(1, 25.3), (8, 112.8), (16, 139.3)])
def test_decoding_is_as_fast_as_was_measured(together, tokens):
    jobs = [(0.0, conversation(number, number, 0, 201)) for number in range(together)]

    times = finish(*jobs)

    begun = max(first for first, *_ in times)
    ended = max(last for _, last, _ in times)
    assert 200 * together / (ended - begun) == pytest.approx(tokens, rel=0.05)


def test_the_same_beginning_is_read_once():
    cold, warm = finish(
        (0.0, conversation(1, 7, 1280, 2)), (100.0, conversation(2, 7, 1280, 2))
    )

    assert warm[2] == 1280
    assert warm[0] - 100 < 0.1 * cold[0]


def test_who_comes_in_mid_answer_waits_for_a_step_at_most():
    _, (first, *_) = finish(
        (0.0, conversation(1, 1, 0, 500)), (10.0, conversation(2, 2, 0, 2))
    )

    step = COSTS.seconds_per_step + COSTS.seconds_per_sequence
    reading = step + 16 * COSTS.seconds_per_prompt_token
    assert 10 + reading <= first <= 10 + reading + step


def test_a_full_cache_forgets_the_least_recently_used():
    cache = KVCache(num_blocks=4)
    for prompt in ((1, 2), (3, 4), (5, 6)):
        hold = cache.take(prompt, 2)
        cache.publish(hold, prompt)
        cache.give_back(hold)

    assert cache.take((3, 4), 2).num_hits == 2
    assert cache.take((1, 2), 2).num_hits == 0
    assert cache.take((7,), 1) is None  # both are in use: there is no room
    assert cache.usage == 1.0


# -- What the policies make of it ------------------------------------------------------


def test_affinity_is_far_ahead_because_prompts_are_found_in_the_cache():
    turns = run("round_robin", SHARED, 0.35)
    least = run("least_load", SHARED, 0.35)
    affinity = run("prefix_affinity", SHARED, 0.35)

    assert affinity.hit_rate > 0.8
    assert max(turns.hit_rate, least.hit_rate) < 0.6
    assert affinity.tokens_per_second > 1.5 * turns.tokens_per_second
    assert affinity.ttft(90) < 0.2 * turns.ttft(90)


def test_affinity_that_remembers_nothing_is_least_load(settings):
    """The cause, taken away."""
    settings.PREFIX_INDEX_BLOCKS = 1

    least = run("least_load", SHARED, 0.2)
    affinity = run("prefix_affinity", SHARED, 0.2)

    assert affinity.hit_rate == pytest.approx(least.hit_rate, abs=0.05)


def test_sessions_help_a_policy_that_knows_no_prompts():
    plain, sticky = (run(way, SHARED, 0.15) for way in ("round_robin", SESSIONS))

    assert sticky.hit_rate > plain.hit_rate + 0.1
    assert sticky.ttft(90) < plain.ttft(90)


def test_load_beats_turns_where_prompts_are_of_uneven_length():
    by_way = {way: run(way, UNSHARED, 0.25) for way in POLICIES}

    assert by_way["least_load"].ttft(90) < by_way["shortest_queue"].ttft(90)
    assert by_way["shortest_queue"].ttft(90) < by_way["lottery"].ttft(90)


def test_where_nothing_is_shared_affinity_costs_nothing():
    ways = {
        way: [run(way, UNSHARED, rate) for rate in (0.1, 0.25)]
        for way in ("least_load", "prefix_affinity")
    }

    assert worst_beside_least_load(ways) <= 1.02


def test_equal_scenarios_have_equal_outcomes():
    assert run("prefix_affinity", SHARED, 0.3) == run("prefix_affinity", SHARED, 0.3)


def test_the_guide_holds_every_plot():
    text = DOCUMENT.read_text()

    assert all(marker in text for marker in markers(BLOCK))
    assert {path.name for path in IMAGES.glob("routing-*.svg")} == {
        "routing-shared.svg",
        "routing-sizes.svg",
        "routing-unshared.svg",
    }
    assert {*POLICIES, SESSIONS} == {*STYLES}
