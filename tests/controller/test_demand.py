import pytest

from controller.limits.demand import (
    SLICE_TOKENS,
    TEMPLATE_TOKENS,
    PromptRatios,
    cap_completion,
    demand_of,
)
from controller.relay.request import InferenceRequest
from tests.fleets import snapshot_of
from workers.protocol import Task

MODEL = snapshot_of("m", [], "").models["m"]  # takes 8192 tokens


def demand(task: Task = Task.CHAT, stream: bool = False, **body):
    request = InferenceRequest(
        endpoint="/v1/x", task=task, model="m", body=body, stream=stream
    )
    return demand_of(request, MODEL, prompt=100)


@pytest.mark.parametrize(
    ("body", "completions"),
    [
        ({"max_tokens": 10}, 10),
        ({"max_tokens": 10, "n": 3}, 30),
        ({"max_tokens": 10, "n": 2, "best_of": 4}, 40),
        ({"max_completion_tokens": 20, "max_tokens": 10}, 20),
        ({"max_tokens": 10, "prompt": ["a", "b"], "n": 3}, 60),
        ({"max_tokens": 10, "prompt": [[1, 2], [3]]}, 20),
        ({"max_tokens": 10, "prompt": [1, 2, 3]}, 10),
        ({"max_tokens": 100_000}, 8092),
    ],
)
def test_every_answer_that_the_engine_writes_is_reserved(body, completions):
    assert demand(**body).completions == completions
    assert demand(**body).tokens == completions + 100


def test_a_stream_of_unknown_length_reserves_a_slice_and_may_grow():
    assert demand(stream=True).completion == SLICE_TOKENS
    assert demand(stream=True).may_grow


def test_an_answer_of_unknown_length_that_cannot_be_watched_reserves_all_its_room():
    assert demand(stream=False).completion == 8092
    assert not demand(stream=False).may_grow


def test_tasks_that_write_nothing_reserve_their_prompt_alone():
    assert demand(Task.EMBEDDINGS).tokens == 100
    assert demand(Task.TOKENIZE).tokens == 0


def test_what_is_asked_of_the_engine_is_lowered_in_the_clients_own_words():
    body = {"max_completion_tokens": 100, "min_tokens": 50}

    cap_completion(body, 30)

    assert body == {"max_completion_tokens": 30, "min_tokens": 30}


def test_a_prompt_is_reserved_by_the_most_until_an_engine_has_counted():
    assert PromptRatios().reserve_for("m", 100) == 400 + TEMPLATE_TOKENS


def test_the_ratio_follows_a_rise_at_once_and_a_fall_slowly():
    ratios = PromptRatios()
    for _ in range(200):
        ratios.learn("m", 100, 100 + TEMPLATE_TOKENS)
    fallen = ratios.reserve_for("m", 100)

    ratios.learn("m", 100, 200 + TEMPLATE_TOKENS)

    assert fallen == pytest.approx(100 + TEMPLATE_TOKENS, abs=2)
    assert ratios.reserve_for("m", 100) == 200 + TEMPLATE_TOKENS
