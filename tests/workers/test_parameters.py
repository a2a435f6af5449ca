"""Every parameter changes what the real model says, and as it should.

SmolLM2 in float32, called without a server between; transformers' own `generate` is
what greedy answers are compared with.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests import engines
from tests.workers.in_process import InProcessEngine
from workers.transformers_engine.app import Application
from workers.transformers_engine.generation import Generator
from workers.transformers_engine.model import LoadedModel, LoadSettings, load_model
from workers.transformers_engine.scheduler import Scheduler
from workers.transformers_engine.served import ServedModel
from workers.transformers_engine.source import find_model

pytestmark = pytest.mark.engine

PROMPT = "The fox said to the hen:"
PROMPTS = [
    PROMPT,
    "One, two, three,",
    "The capital of France is Paris, and the capital of Germany is",
    "It",
]
HOT: dict[str, Any] = {"temperature": 1.5, "seed": 7}


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    torch.set_num_threads(1)  # two would wait for each other beside other work
    settings = LoadSettings(device="cpu", dtype="float32")
    return load_model(find_model(str(engines.smollm2())), settings)


@pytest.fixture(scope="module")
def engine(loaded: LoadedModel) -> Iterator[InProcessEngine]:
    scheduler = Scheduler(loaded.model, max_concurrency=8, cache_tokens=40_000)
    scheduler.start()
    generator = Generator(loaded, scheduler)
    yield InProcessEngine(Application([ServedModel(("smollm2",), generator)]))
    scheduler.stop()


async def said(engine: InProcessEngine, prompt: str = PROMPT, **fields: Any) -> Any:
    """Return the first choice of a completion of 16 tokens, greedy unless told else."""
    wished = {"max_tokens": 16, "ignore_eos": True, **fields}
    answer = await engine.answer("/v1/completions", prompt=prompt, **wished)
    return answer["choices"][0]


async def text(engine: InProcessEngine, prompt: str = PROMPT, **fields: Any) -> str:
    return str((await said(engine, prompt, **fields))["text"])


def generated(loaded: LoadedModel, prompt: str, **fields: Any) -> str:
    """Return what transformers' own loop makes of `prompt`, greedily."""
    tokens = loaded.tokenizer(prompt, return_tensors="pt")
    made = loaded.model.generate(
        **tokens,
        do_sample=False,
        max_new_tokens=16,
        min_new_tokens=16,
        pad_token_id=0,
        **fields,
    )
    return str(loaded.tokenizer.decode(made[0, tokens["input_ids"].shape[1] :]))


async def test_greedy_answers_decoded_together_are_those_of_generate(
    engine: InProcessEngine, loaded: LoadedModel
) -> None:
    answers = await asyncio.gather(*(text(engine, prompt) for prompt in PROMPTS))

    assert answers == [generated(loaded, prompt) for prompt in PROMPTS]


async def test_the_repetition_penalty_is_that_of_generate(
    engine: InProcessEngine, loaded: LoadedModel
) -> None:
    answer = await text(engine, PROMPTS[1], repetition_penalty=1.6)

    assert answer == generated(loaded, PROMPTS[1], repetition_penalty=1.6)
    assert answer != await text(engine, PROMPTS[1])


async def test_a_seed_repeats_beside_others_and_another_does_not(
    engine: InProcessEngine,
) -> None:
    alone = await text(engine, **HOT)

    again, other, *_ = await asyncio.gather(
        text(engine, **HOT),
        text(engine, **HOT | {"seed": 8}),
        *(text(engine, prompt, temperature=1.0) for prompt in PROMPTS),
    )

    assert again == alone
    assert other != alone


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}])
async def test_a_limit_that_leaves_one_token_makes_heat_greedy(
    engine: InProcessEngine, fields: dict[str, Any]
) -> None:
    greedy = await text(engine)

    assert await text(engine, **HOT) != greedy
    assert await text(engine, **HOT, **fields) == greedy


@pytest.mark.parametrize("fields", [{"top_k": 3}, {"min_p": 0.4}, {"top_p": 0.02}])
async def test_a_limit_keeps_to_the_likeliest(
    engine: InProcessEngine, fields: dict[str, Any]
) -> None:
    wished = {**HOT, "temperature": 2.0, "logprobs": 5, "max_tokens": 24}

    def surprises(choice: dict[str, Any]) -> int:
        scores = choice["logprobs"]
        least = [min(top.values()) for top in scores["top_logprobs"]]
        chosen = zip(scores["token_logprobs"], least, strict=True)
        # A token that is none of the five likeliest is itself the least of its top.
        return sum(logprob == low for logprob, low in chosen)

    free, limited = [await said(engine, **wished, **more) for more in ({}, fields)]

    assert surprises(free) > 12
    assert surprises(limited) < 6


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
async def test_a_penalty_makes_tokens_repeat_less(
    engine: InProcessEngine, penalty: str
) -> None:
    async def num_different(**fields: Any) -> int:
        choice = await said(engine, "ha ha ha ha", logprobs=0, max_tokens=30, **fields)
        return len(Counter(choice["logprobs"]["tokens"]))

    assert await num_different(**{penalty: 2.0}) > 2 * await num_different()


async def test_a_bias_forbids_a_token_or_forces_it(
    engine: InProcessEngine, loaded: LoadedModel
) -> None:
    first = (await said(engine, logprobs=0))["logprobs"]["tokens"][0]
    [token] = loaded.tokenizer(first)["input_ids"]

    forbidden = await said(engine, logprobs=0, logit_bias={str(token): -100})
    forced = await said(engine, logit_bias={str(token): 100}, max_tokens=5)

    assert first not in forbidden["logprobs"]["tokens"]
    assert forced["text"] == first * 5


async def test_logprobs_add_up_to_what_the_model_gives_the_whole_text(
    engine: InProcessEngine, loaded: LoadedModel
) -> None:
    # Not so hot that it says what is no whole character, which no token is found by.
    choice = await said(engine, logprobs=5, temperature=1.0, top_k=5, seed=7)

    prompt = loaded.tokenizer(PROMPT)["input_ids"]
    vocabulary = loaded.tokenizer.get_vocab()
    pieces = [piece.replace(" ", "Ġ") for piece in choice["logprobs"]["tokens"]]
    tokens = [vocabulary[piece.replace("\n", "Ċ")] for piece in pieces]
    with torch.inference_mode():
        scores = loaded.model(torch.tensor([prompt + tokens])).logits[0].float()
    logprobs = scores.log_softmax(-1)[len(prompt) - 1 : -1]
    expected = logprobs[range(len(tokens)), tokens]
    told = choice["logprobs"]["token_logprobs"]
    assert told == pytest.approx(expected.tolist(), abs=1e-3)
    for row, top in zip(logprobs, choice["logprobs"]["top_logprobs"], strict=True):
        assert max(top.values()) == pytest.approx(row.max().item(), abs=1e-3)
        assert sum(map(math.exp, top.values())) <= 1 + 1e-3


async def test_max_completion_tokens_counts_before_max_tokens(
    engine: InProcessEngine,
) -> None:
    answer = await engine.answer(
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "Tell me a story."}],
        max_tokens=9,
        max_completion_tokens=4,
    )

    assert answer["usage"]["completion_tokens"] == 4


async def test_an_end_before_min_tokens_is_not_taken(engine: InProcessEngine) -> None:
    ask: dict[str, Any] = {
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 60,
    }
    short = await engine.answer("/v1/chat/completions", **ask)
    long = await engine.answer("/v1/chat/completions", **ask, min_tokens=40)

    assert short["choices"][0]["finish_reason"] == "stop"
    assert (
        short["usage"]["completion_tokens"] < 40 <= long["usage"]["completion_tokens"]
    )


async def test_a_partial_answer_is_continued(engine: InProcessEngine) -> None:
    question = {"role": "user", "content": "What is the capital of France?"}
    begun = {"role": "assistant", "content": "The capital of France is"}

    answer = await engine.answer(
        "/v1/chat/completions",
        messages=[question, begun],
        add_generation_prompt=False,
        continue_final_message=True,
        max_tokens=2,
    )

    assert answer["choices"][0]["message"]["content"] == " Paris."
