"""The scheduler with a real, if tiny, model: two layers with random weights."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from workers.refusals import GenerationFailed
from workers.transformers_engine import scheduler as scheduler_module
from workers.transformers_engine.errors import EngineFull
from workers.transformers_engine.sampling import SamplingParameters
from workers.transformers_engine.scheduler import Scheduler
from workers.transformers_engine.sequence import Delta, Sequence, StopRules

WAIT_SECONDS = 20
GREEDY = SamplingParameters(temperature=0)


class NumberTokenizer:
    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join(f"{token} " for token in token_ids)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # a model this small only waits for a second one
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def scheduler(model: Any) -> Iterator[Scheduler]:
    made = Scheduler(model, max_concurrency=4, cache_tokens=1000)
    made.start()
    yield made
    made.stop()


class Client:
    """Asks for one sequence and keeps what comes."""

    def __init__(self, prompt: list[int], max_tokens: int = 12, **rules: Any) -> None:
        self.deltas: list[Delta] = []
        self.done = threading.Event()
        self.on_delta: Callable[[], None] = lambda: None
        self.sequence = Sequence(
            prompt=prompt,
            sampling=GREEDY,
            stop=StopRules(max_tokens=max_tokens, **rules),
            tokenizer=NumberTokenizer(),
            device="cpu",
            deliver=self.receive,
        )

    def receive(self, delta: Delta) -> None:
        self.deltas.append(delta)
        self.on_delta()
        if delta.finish_reason or delta.error:
            self.done.set()

    def tokens(self) -> list[int]:
        assert self.done.wait(WAIT_SECONDS)
        return self.sequence.tokens


def alone(model: Any, prompt: list[int], max_tokens: int = 12) -> list[int]:
    """Return what transformers' own loop makes of `prompt`."""
    made = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=max_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return list(made[0, len(prompt) :].tolist())


PROMPTS = [[5, 6, 7], list(range(1, 40)), [9], [3, 1, 4, 1, 5, 9, 2, 6]]


def test_sequences_decoded_together_are_what_they_are_alone(
    model: Any, scheduler: Scheduler
) -> None:
    clients = [
        Client(prompt, 6 + 3 * index) for index, prompt in enumerate([*PROMPTS] * 2)
    ]

    for client in clients:
        scheduler.submit([client.sequence])

    for client in clients:
        wished = client.sequence.stop.max_tokens
        prompt = list(client.sequence.prompt)
        assert client.tokens() == alone(model, prompt, wished)


def test_a_prompt_taken_in_by_chunks_gives_the_same_answer(
    model: Any, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "PREFILL_CHUNK_TOKENS", 7)
    client = Client(PROMPTS[1])

    scheduler.submit([client.sequence])

    assert client.tokens() == alone(model, PROMPTS[1])


def test_several_answers_share_one_prompt(model: Any, scheduler: Scheduler) -> None:
    clients = [Client(PROMPTS[3]) for _ in range(3)]

    scheduler.submit([client.sequence for client in clients])

    for client in clients:
        assert client.tokens() == alone(model, PROMPTS[3])
    assert scheduler.prompt_tokens_total == len(PROMPTS[3])
    assert scheduler.generation_tokens_total == 3 * 12


def test_a_second_stream_begins_before_the_first_ends(scheduler: Scheduler) -> None:
    order: list[str] = []
    first, second = Client([1, 2], 60), Client([3, 4], 5)
    first.on_delta = lambda: order.append("first")
    second.on_delta = lambda: order.append("second")

    scheduler.submit([first.sequence])
    scheduler.submit([second.sequence])
    assert first.done.wait(WAIT_SECONDS)

    assert order.index("second") < 10
    assert order[-1] == "first"


def test_a_cancelled_sequence_gets_nothing_after_the_step_it_is_in(
    scheduler: Scheduler,
) -> None:
    client, other = Client([1, 2], 200), Client([3], 30)
    client.on_delta = lambda: scheduler.cancel([client.sequence])

    scheduler.submit([client.sequence])
    scheduler.submit([other.sequence])
    other.tokens()

    assert len(client.deltas) == 1
    scheduler.stop()  # after the step that retires the last sequence, too
    assert scheduler.num_running + scheduler.num_waiting == 0
    assert scheduler.cache_usage == 0


def test_more_than_fit_wait_in_line_and_are_served(scheduler: Scheduler) -> None:
    clients = [Client([7, index], 10) for index in range(9)]
    most_running: list[int] = []
    for client in clients:
        client.on_delta = lambda: most_running.append(scheduler.num_running)

    for client in clients:
        scheduler.submit([client.sequence])
    for client in clients:
        client.tokens()

    assert max(most_running) <= 4


def test_a_line_that_is_too_long_takes_no_more(model: Any) -> None:
    not_started = Scheduler(model, max_concurrency=1, cache_tokens=1000)
    for _ in range(16):
        not_started.submit([Client([7]).sequence])

    with pytest.raises(EngineFull, match="16 requests wait in line"):
        not_started.submit([Client([7]).sequence])


def test_no_more_begin_than_the_cache_can_hold(scheduler: Scheduler) -> None:
    first, second = Client([1], 250), Client([2], 800)
    seen: list[int] = []
    second.on_delta = lambda: seen.append(len(first.sequence.tokens))

    scheduler.submit([first.sequence])
    scheduler.submit([second.sequence])
    first.tokens()
    while not seen and not second.done.wait(0.01):
        pass
    scheduler.cancel([second.sequence])

    assert seen[0] == 250


def test_a_failing_request_is_told_and_the_next_is_served(
    model: Any, scheduler: Scheduler
) -> None:
    impossible, next_one = Client([5000]), Client([5, 6, 7])

    scheduler.submit([impossible.sequence])
    scheduler.submit([next_one.sequence])

    assert next_one.tokens() == alone(model, [5, 6, 7])
    assert impossible.done.wait(WAIT_SECONDS)
    assert impossible.deltas[-1].error is not None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"),
    ],
)
def test_running_out_of_memory_costs_the_newest_and_no_other_a_token(
    model: Any,
    scheduler: Scheduler,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    layer, calls = model.model.layers[1], []

    def forward(hidden: torch.Tensor, **kwargs: Any) -> Any:
        calls.append(hidden.shape[0])
        if hidden.shape[0] == 2:  # after the first layer has filled its cache
            raise error
        return type(layer).forward(layer, hidden, **kwargs)

    monkeypatch.setattr(layer, "forward", forward)
    old, new = Client([5, 6, 7], 20), Client([8, 9], 20)

    scheduler.submit([old.sequence])
    scheduler.submit([new.sequence])

    assert old.tokens() == alone(model, [5, 6, 7], 20)
    assert 2 in calls
    assert new.done.wait(WAIT_SECONDS)
    assert isinstance(new.deltas[-1].error, GenerationFailed)
    assert "ran out of memory" in str(new.deltas[-1].error)


def test_an_end_token_stops_and_its_text_is_not_shown(
    model: Any, scheduler: Scheduler
) -> None:
    tokens = alone(model, [5, 6, 7])
    end = tokens[3]
    client = Client([5, 6, 7], tokens=frozenset([end]))

    scheduler.submit([client.sequence])
    made = client.tokens()

    assert made == tokens[: tokens.index(end) + 1]
    assert client.deltas[-1].finish_reason == "stop"
    assert "".join(delta.text for delta in client.deltas) == NumberTokenizer().decode(
        made[:-1], skip_special_tokens=True
    )


def test_an_end_token_waits_for_the_least_number_of_tokens(
    model: Any, scheduler: Scheduler
) -> None:
    end = alone(model, [5, 6, 7])[0]
    client = Client([5, 6, 7], tokens=frozenset([end]), min_tokens=5)

    scheduler.submit([client.sequence])

    assert end not in client.tokens()[:5]
