"""What a request may come to use, as far as it can be said before it is sent."""

from dataclasses import dataclass
from typing import Any

from controller.fleet.snapshot import ModelView
from controller.relay.request import InferenceRequest
from workers.protocol import Task

# Of an answer of unknown length; a stream gets more of them while it runs.
SLICE_TOKENS = 1024
# Chat templates add words of their own, to short prompts too.
TEMPLATE_TOKENS = 8
# Until an engine has counted a prompt: a token for each byte, which is the most.
FIRST_RATIO = 4.0
MAX_RATIO = 8.0
_DECAY = 0.05


class PromptRatios:
    """How many tokens engines count for one that was estimated by a prompt's bytes.

    A running ratio for each model, which follows a rise at once and a fall slowly: too
    little reserved is overspent, too much is given back when the request ends.
    """

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}

    def reserve_for(self, model: str, estimated: int) -> int:
        """Tokens to reserve for a prompt of this estimated length."""
        ratio = self._ratios.get(model, FIRST_RATIO)
        return int(estimated * ratio) + TEMPLATE_TOKENS

    def learn(self, model: str, estimated: int, counted: int) -> None:
        """Take in what an engine has counted."""
        if estimated <= 0 or counted <= 0:
            return
        seen = min(max(0, counted - TEMPLATE_TOKENS) / estimated, MAX_RATIO)
        known = self._ratios.get(model, FIRST_RATIO)
        rises = seen > known
        self._ratios[model] = seen if rises else known + (seen - known) * _DECAY


@dataclass(slots=True)
class Demand:
    """Tokens that a request may use. `completion` is for each of its `choices`."""

    prompt: int
    choices: int = 0
    completion: int = 0
    may_grow: bool = False
    """Nobody said how long the answer may become, and its events can be counted."""

    @property
    def completions(self) -> int:
        return self.choices * self.completion

    @property
    def tokens(self) -> int:
        return self.prompt + self.completions


def demand_of(request: InferenceRequest, model: ModelView, prompt: int) -> Demand:
    """What to reserve for this request, whose prompt has about so many tokens."""
    task = request.task
    if task is Task.TOKENIZE:
        return Demand(0)  # no model reads them
    if task is not Task.CHAT and task is not Task.COMPLETIONS:
        return Demand(prompt)
    body = request.body
    demand = Demand(prompt, choices=_num_choices(body))
    room = max(1, model.context_length - prompt) if model.context_length else None
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    if asked is not None:
        demand.completion = min(asked, room or asked)
    elif request.stream:
        demand.completion = min(SLICE_TOKENS, room or SLICE_TOKENS)
        demand.may_grow = True
    else:
        demand.completion = room or SLICE_TOKENS
    return demand


def cap_completion(body: dict[str, Any], most: int) -> None:
    """Let the engine write no more than `most` tokens for each choice."""
    name = "max_tokens"
    if body.get("max_completion_tokens") is not None:
        name = "max_completion_tokens"
    body[name] = min(body.get(name) or most, most)
    if body.get("min_tokens"):
        body["min_tokens"] = min(body["min_tokens"], most)


def _num_choices(body: dict[str, Any]) -> int:
    """How many answers the engine writes, shown or not."""
    prompts = body.get("prompt")
    is_many = isinstance(prompts, list) and not isinstance(prompts[0], int)
    num_prompts = len(prompts) if prompts and is_many else 1
    return num_prompts * max(body.get("n") or 1, body.get("best_of") or 1)
