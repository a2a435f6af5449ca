"""What a model's row adds to a request, and where it bounds it.

The client's own word comes first: a default is for what it left out, and the system
prompt for a conversation that has none.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from controller.errors import ContextLengthExceeded
from controller.fleet.prompts import estimate_tokens
from controller.fleet.snapshot import ModelView
from controller.fleet.wishes import Wish
from controller.limits.demand import cap_completion
from controller.relay.engine_errors import PROMPT_FIELDS
from controller.relay.request import InferenceRequest
from workers.protocol import Task

GENERATING = frozenset({Task.CHAT, Task.COMPLETIONS})
SYSTEM_ROLES = frozenset({"system", "developer"})
LENGTHS = frozenset({"max_tokens", "max_completion_tokens"})

Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]


class DefaultParameters(Struct, forbid_unknown_fields=True):
    """What an operator may give a model's requests, with the bounds of the API."""

    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    top_k: int | None = None
    min_p: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


def check_parameters(given: Any) -> dict[str, Any]:
    """The parameters as a dict, none for nothing. Raises ValueError with the words to
    show for what is none, or out of its bounds."""
    try:
        msgspec.convert(given or {}, DefaultParameters)
    except msgspec.ValidationError as exc:
        known = ", ".join(DefaultParameters.__struct_fields__)
        raise ValueError(f"{exc}. Known are {known}.") from exc
    return {name: value for name, value in (given or {}).items() if value is not None}


def add_defaults(request: InferenceRequest, defaults: Mapping[str, Any]) -> None:
    """Fill in what the client left to the model."""
    if not defaults or request.task not in GENERATING:
        return
    body = request.body
    has_length = not LENGTHS.isdisjoint(body)
    for name, value in defaults.items():
        if not (name in LENGTHS and has_length):
            body.setdefault(name, deepcopy(value))


def with_system_prompt(request: InferenceRequest, prompt: str) -> dict[str, Any]:
    """The request's body, with this prompt first where it has none of its own."""
    messages = request.body.get("messages")
    if not prompt or request.task is not Task.CHAT or not messages:
        return request.body
    if any(message.get("role") in SYSTEM_ROLES for message in messages):
        return request.body
    first = {"role": "system", "content": prompt}
    return {**request.body, "messages": [first, *messages]}


def keep_in_context(request: InferenceRequest, model: ModelView, wish: Wish) -> None:
    """Let prompt and answer together be no longer than the operator allows.

    By the prompt's estimate: no tokenizer is asked. Raises `ContextLengthExceeded`
    where it leaves no room for an answer.
    """
    limit = model.context_limit
    if limit is None or request.task is Task.TOKENIZE:
        return
    prompt = wish.prompt_tokens
    if request.task is Task.CHAT:
        prompt += estimate_tokens(model.system_prompt, 0)
    room = limit - prompt
    if room <= 0:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {limit} tokens here, and your"
            f" prompt has about {prompt}. Shorten it.",
            param=PROMPT_FIELDS.get(request.task),
        )
    # Without a length, an engine completes a text by a few tokens only.
    is_open_ended = request.task is Task.CHAT
    if request.task in GENERATING and (
        is_open_ended or not LENGTHS.isdisjoint(request.body)
    ):
        cap_completion(request.body, room)
