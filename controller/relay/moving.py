"""Moving a stream: its worker broke off in mid-answer, and another goes on from there.

The client sees a pause. What its stream has said so far is known (`said`). There are
two ways on:

- *exactly*, where the first engine told its token ids (`return_token_ids`): the second
  is asked for the completion of prompt and answer as tokens, so that no chat template
  and no tokenizer stands between what was said and what is gone on from;
- *by the text* elsewhere: the answer so far is the last assistant message of the same
  request (`continue_final_message`), or stands behind the prompt of a completion.

Seeds and penalties begin anew with the second engine: after a move they are not exact.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import msgspec

from controller.fleet.snapshot import PlacementView, WorkerView
from controller.relay.client import UpstreamBroken
from controller.relay.request import InferenceRequest
from controller.relay.said import Said
from workers.protocol import Task

# Its `return_token_ids` and completions of token ids are known to fit together.
EXACT_ENGINES = frozenset({"vllm"})
COMPLETIONS_PATH = "/v1/completions"
DETOKENIZE_PATH = "/detokenize"
DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's, of a completion that sets no max_tokens
# A comment, which clients skip: the answer goes on, after a pause.
MOVING_EVENT = b": the worker broke off; another one goes on with the answer\n\n"
REPLACEMENT = "\ufffd"  # what a decoder writes for half a character

# Their state, or their answer's shape, cannot be taken up in the middle.
NEVER_WITH = (
    *("echo", "suffix", "prompt_logprobs", "structured_outputs", "use_beam_search"),
    *("kv_transfer_params", "prompt_embeds", "functions", "function_call"),
)


def why_never(request: InferenceRequest) -> str:
    """Why a stream of this request cannot be moved, in words; empty if it may be."""
    body = request.body
    if not request.stream or request.task not in {Task.CHAT, Task.COMPLETIONS}:
        return "it is no stream of text"
    if (body.get("n") or 1) > 1 or (body.get("best_of") or 1) > 1:
        return "it has several answers"
    for name in NEVER_WITH:
        if body.get(name):
            return f"it asks for {name}"
    if (body.get("response_format") or {}).get("type", "text") != "text":
        return "its answer has a grammar"
    if body.get("tool_choice") not in {None, "auto", "none"}:
        return "it must call a tool"
    prompt = body.get("prompt")
    if isinstance(prompt, list) and not isinstance(prompt[0], int):
        return "it has several prompts"
    return ""


class Told(Enum):
    """What an engine says of its tokens while it streams, if it is asked."""

    NOTHING = auto()
    IDS = auto()
    USAGE = auto()


def told_by(worker: WorkerView) -> Told:
    if not worker.can_continue:
        return Told.NOTHING
    return Told.IDS if worker.engine in EXACT_ENGINES else Told.USAGE


def ask_to_tell(body: dict[str, Any], told: Told) -> None:
    """Add to a stream's body what makes its engine say so much."""
    if told is Told.IDS:
        body["return_token_ids"] = True
    elif told is Told.USAGE:
        body["stream_options"]["continuous_usage_stats"] = True


# -- The second request ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Continuation:
    """What another engine is asked, and how its answer joins on to what was said."""

    path: str
    body: dict[str, Any]
    num_done: int
    """Tokens of the answer that are not generated again."""
    is_exact: bool = False
    held: str = ""
    """Text of those tokens that the first engine held back, for a stop string."""


def may_go_on(
    request: InferenceRequest, said: Said, worker: WorkerView, placement: PlacementView
) -> bool:
    """Whether this worker can take the stream over. Call after `said.read()`."""
    if said.why_not:
        return False
    if said.is_nothing:
        return True
    if not worker.can_continue:
        return False
    has_ids_for_prompt = not isinstance(request.body.get("prompt"), str | None)
    by_the_text = not (said.has_reasoned or has_ids_for_prompt)
    return by_the_text or goes_exactly(request, said, worker, placement)


def goes_exactly(
    request: InferenceRequest, said: Said, worker: WorkerView, placement: PlacementView
) -> bool:
    """Whether the worker can go on from the very tokens."""
    return (
        worker.can_continue
        and worker.engine in EXACT_ENGINES
        and bool(said.prompt_ids)
        and said.tells_ids
        and not said.is_reasoning
        and Task.COMPLETIONS in placement.tasks
        and placement.context_length > len(said.prompt_ids) + len(said.ids)
        and _is_plain(request.body)
        and (Task.TOKENIZE in placement.tasks or not stop_strings(request))
    )


def _is_plain(body: dict[str, Any]) -> bool:
    """Whether a chat's answer is its text, and its prompt is its tokens: no tools to
    call, no scores in a chat's own shape, no images."""
    if body.get("tools") or (body.get("logprobs") and "messages" in body):
        return False
    return all(
        part.get("type") == "text"
        for message in body.get("messages", ())
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )


def stop_strings(request: InferenceRequest) -> list[str]:
    stop = request.body.get("stop") or []
    return [stop] if isinstance(stop, str) else stop


def again(request: InferenceRequest) -> Continuation:
    """The same request once more, where nothing of its answer is out yet."""
    path = request.engine_path or request.endpoint
    return Continuation(path, request.body, num_done=0)


# A chat's own fields, which its prompt's tokens have in them already.
OF_CHATS = frozenset(
    {
        *("messages", "documents", "add_generation_prompt", "continue_final_message"),
        *("chat_template", "chat_template_kwargs", "mm_processor_kwargs"),
        *("include_reasoning", "reasoning_effort", "response_format"),
        *("tools", "tool_choice", "parallel_tool_calls", "truncate_prompt_tokens"),
        *("max_completion_tokens", "logprobs", "top_logprobs"),
    }
)
OF_COMPLETIONS = frozenset({"truncate_prompt_tokens"})


def exactly(
    request: InferenceRequest, said: Said, context_length: int, held: str, num_done: int
) -> Continuation:
    """Go on from the first `num_done` tokens, of whose text `held` is not out yet."""
    is_chat = request.task is Task.CHAT
    left_out = OF_CHATS if is_chat else OF_COMPLETIONS
    body = {k: v for k, v in request.body.items() if k not in left_out}
    body["prompt"] = [*said.prompt_ids, *said.ids[:num_done]]
    room = context_length - len(body["prompt"])
    limit = _max_tokens(request)
    body["max_tokens"] = room if limit is None else max(1, limit - num_done)
    _shorten_minimum(body, num_done)
    return Continuation(COMPLETIONS_PATH, body, num_done, is_exact=True, held=held)


def by_the_text(request: InferenceRequest, said: Said) -> Continuation:
    """Go on from the text that the client has."""
    num_done = said.num_tokens
    body = dict(request.body)
    if request.task is Task.CHAT:
        body["messages"] = _with_answer(body, said.text)
        body |= {"add_generation_prompt": False, "continue_final_message": True}
        limited = [k for k in ("max_tokens", "max_completion_tokens") if body.get(k)]
    else:
        body["prompt"] += said.text
        body.setdefault("max_tokens", DEFAULT_COMPLETION_TOKENS)
        limited = ["max_tokens"]
    for name in limited:
        body[name] = max(1, body[name] - num_done)
    _shorten_minimum(body, num_done)
    return Continuation(request.endpoint, body, num_done)


def _with_answer(body: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """The messages with the answer so far as the last, or at the end of the last if
    the client itself asked to go on from that."""
    *before, last = messages = body["messages"]
    if not body.get("continue_final_message"):
        return [*messages, {"role": "assistant", "content": text}]
    begun = last.get("content") or ""
    if isinstance(begun, list):
        return [*before, {**last, "content": [*begun, {"type": "text", "text": text}]}]
    return [*before, {**last, "content": begun + text}]


def _max_tokens(request: InferenceRequest) -> int | None:
    body = request.body
    limit: int | None = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is None and request.task is Task.COMPLETIONS:
        return DEFAULT_COMPLETION_TOKENS
    return limit


def _shorten_minimum(body: dict[str, Any], num_done: int) -> None:
    if body.get("min_tokens"):
        body["min_tokens"] = max(0, body["min_tokens"] - num_done)


class Detokenized(msgspec.Struct):
    prompt: str


def held_back(answer: bytes, said: str) -> str | None:
    """What of the text in an engine's answer to `/detokenize` is not said yet.

    None where it ends within a character, or does not begin with what was said; some
    tokenizers leave out the space before the first word. Raises `UpstreamBroken`.
    """
    try:
        full = msgspec.json.decode(answer, type=Detokenized).prompt
    except msgspec.DecodeError as exc:
        raise UpstreamBroken("the engine's JSON is not what it should be") from exc
    for whole in (full, " " + full):
        if whole.startswith(said) and not whole.endswith(REPLACEMENT):
            return whole[len(said) :]
    return None
