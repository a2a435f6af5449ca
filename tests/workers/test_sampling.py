from collections import Counter
from typing import Any

import pytest
import torch

from workers.transformers_engine.sampling import Sampler, SamplingParameters

SCORES = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))


def drawn(num: int = 400, prompt: tuple[int, ...] = (), **parameters: Any) -> set[int]:
    """Return which tokens come up, drawing each time by a fresh sampler's rules."""
    sampler = Sampler(SamplingParameters(**parameters), prompt, "cpu")
    return {sampler.choose(SCORES)[0] for _ in range(num)}


def test_temperature_zero_takes_the_likeliest() -> None:
    assert drawn(temperature=0) == {0}


def test_without_limits_every_token_comes_up_about_as_often_as_it_should() -> None:
    sampler = Sampler(SamplingParameters(seed=1), (), "cpu")

    counts = Counter(sampler.choose(SCORES)[0] for _ in range(4000))

    assert counts[0] / 4000 == pytest.approx(0.5, abs=0.04)
    assert counts[3] / 4000 == pytest.approx(0.05, abs=0.02)


def test_top_k_keeps_the_k_likeliest() -> None:
    assert drawn(top_k=2) == {0, 1}


def test_top_p_keeps_the_fewest_that_reach_p() -> None:
    assert drawn(top_p=0.75) == {0, 1}
    assert drawn(top_p=0.81) == {0, 1, 2}
    assert drawn(top_p=0.0001) == {0}


def test_top_p_counts_among_what_top_k_left() -> None:
    # Of 0.5 and 0.3, 0.5 alone is 62.5 %.
    assert drawn(top_k=2, top_p=0.6) == {0}


def test_min_p_is_a_share_of_the_likeliest() -> None:
    assert drawn(min_p=0.5) == {0, 1}


def test_a_seed_gives_the_same_tokens_again() -> None:
    def draw(seed: int) -> list[int]:
        sampler = Sampler(SamplingParameters(seed=seed), (), "cpu")
        return [sampler.choose(SCORES)[0] for _ in range(50)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_a_bias_forbids_or_forces_a_token() -> None:
    assert 0 not in drawn(logit_bias={0: -100.0})
    assert drawn(logit_bias={3: 100.0}) == {3}


def test_a_forbidden_token_is_not_chosen() -> None:
    sampler = Sampler(SamplingParameters(temperature=0), (), "cpu")

    assert sampler.choose(SCORES, forbidden=[0])[0] == 1


def test_the_frequency_penalty_grows_with_each_use() -> None:
    parameters = SamplingParameters(temperature=0, frequency_penalty=0.3)
    sampler = Sampler(parameters, (), "cpu")

    # log(0.5 / 0.3) is 0.51: two uses of the first token cost 0.6.
    assert [sampler.choose(SCORES)[0] for _ in range(3)] == [0, 0, 1]


def test_the_presence_penalty_counts_once() -> None:
    parameters = SamplingParameters(temperature=0, presence_penalty=0.3)
    sampler = Sampler(parameters, (), "cpu")

    assert [sampler.choose(SCORES)[0] for _ in range(5)] == [0] * 5


def test_the_repetition_penalty_counts_the_prompt() -> None:
    assert drawn(1, prompt=(0,), temperature=0, repetition_penalty=2.0) == {1}


def test_logprobs_are_of_the_bare_model() -> None:
    parameters = SamplingParameters(
        temperature=0, logit_bias={3: 100.0}, num_logprobs=2
    )

    token, score = Sampler(parameters, (), "cpu").choose(SCORES)

    assert token == 3
    assert score is not None
    assert score.logprob == pytest.approx(float(SCORES[3]), abs=1e-4)
    assert [alternative for alternative, _ in score.alternatives] == [0, 1]
