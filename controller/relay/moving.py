"""Moving a stream: its worker broke off in mid-answer, and another goes on from there.

The client sees a pause. What its stream has said so far is remembered as it came, which
costs next to nothing, and read only when the stream must move. There are two ways on:

- *exactly*, where the first engine told its token ids (`return_token_ids`): the second
  is asked for the completion of prompt and answer as tokens, so that no chat template
  and no tokenizer stands between what was said and what is gone on from;
- *by the text* elsewhere: the answer so far is the last assistant message of the same
  request (`continue_final_message`), or stands behind the prompt of a completion.

Seeds and penalties begin anew with the second engine: after a move they are not exact.
"""

from array import array
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import msgspec

from controller.fleet.snapshot import PlacementView, WorkerView
from controller.relay import sse
from controller.relay.answers import Usage
from controller.relay.client import UpstreamBroken
from controller.relay.request import InferenceRequest
from workers.protocol import Task

# Its `return_token_ids` and completions of token ids are known to fit together.
EXACT_ENGINES = frozenset({"vllm"})
COMPLETIONS_PATH = "/v1/completions"
DETOKENIZE_PATH = "/detokenize"
DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's, of a completion that sets no max_tokens
# A comment, which clients skip: the answer goes on, after a pause.
MOVING_EVENT = b": the worker broke off; another one goes on with the answer\n\n"
# Blocks are kept as they came up to so many bytes, then read into text and ids.
RAW_BYTES = 64 * 1024
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


class StreamDelta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class StreamChoice(msgspec.Struct):
    delta: StreamDelta = msgspec.field(default_factory=StreamDelta)
    text: str = ""
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    """Here in completions, beside the choices in chats."""


class StreamEvent(msgspec.Struct):
    id: str = ""
    object: str = ""
    created: int | float = 0
    model: str = ""
    choices: list[StreamChoice] = []
    prompt_token_ids: list[int] | None = None
    usage: Usage | None = None


_decode = msgspec.json.Decoder(StreamEvent).decode


class Said:
    """What a stream has said so far. Holds at most `limit` bytes, or gives up.

    `why_not` says in words why the stream can no longer move; it is empty if it can.
    """

    def __init__(self, limit: int) -> None:
        self.why_not = ""
        self.head: dict[str, Any] = {}
        """Id, object, time and model, as the client knows them."""
        self.prompt_ids = array("q")
        self.ids = array("q")
        self.num_shown = 0
        """So many of the ids have their text out; behind them may be half a letter."""
        self.tells_ids = True
        """All of the text came with its ids."""
        self.has_reasoned = False
        self.is_reasoning = False
        self.prompt_tokens = 0
        """0: nobody has said."""
        self.counts_events = False
        """The number of tokens is that of events: the engine told no other."""
        self._limit = limit
        self._raw: list[bytes] = []
        self._raw_bytes = 0
        self._parts: list[str] = []
        self._num_chars = 0
        self._num_before = 0
        self._num_here = 0

    def remember(self, block: bytes) -> None:
        """Keep whole events, as the engine wrote them."""
        if self.why_not:
            return
        self._raw.append(block)
        self._raw_bytes += len(block)
        if self._raw_bytes > RAW_BYTES:
            self.read()

    def read(self) -> None:
        """Read what was kept: from here on a token takes a few bytes."""
        raw, self._raw, self._raw_bytes = b"".join(self._raw), [], 0
        for event in sse.split_events(raw):
            payload = sse.event_data(event)
            if payload and payload != b"[DONE]":
                self._read_event(payload)

    @property
    def text(self) -> str:
        """Of the answer, as the client has it."""
        self._parts = ["".join(self._parts)]
        return self._parts[0]

    @property
    def num_tokens(self) -> int:
        """Of the answer, done so far."""
        return self._num_before + self._num_here

    @property
    def usage(self) -> Usage | None:
        """The tokens so far; None where an engine did not tell them."""
        self.read()
        if self.why_not or self.counts_events or not self.prompt_tokens:
            return None
        return Usage(self.prompt_tokens, self.num_tokens)

    @property
    def is_nothing(self) -> bool:
        """Nothing of the answer is out yet: it may as well begin again."""
        return not (self._num_chars or self.has_reasoned)

    def goes_on(self, num_tokens: int) -> None:
        """Another engine goes on behind the first `num_tokens`; more are forgotten."""
        self._num_before, self._num_here = num_tokens, 0
        if self.tells_ids:
            del self.ids[num_tokens:]
            self.num_shown = min(self.num_shown, num_tokens)

    def _read_event(self, payload: bytes) -> None:
        try:
            self.take(_decode(payload))
        except (msgspec.DecodeError, OverflowError):
            self._give_up("an event of it is not understood")

    def take(self, event: StreamEvent) -> None:
        """Note what an event says."""
        if self.why_not:
            return
        if not self.head:
            self.head = {
                "id": event.id,
                "object": event.object,
                "created": event.created,
                "model": event.model,
            }
        for choice in event.choices:
            prompt = event.prompt_token_ids or choice.prompt_token_ids
            if prompt and not self.prompt_ids:
                self.prompt_ids.extend(prompt)
                self.prompt_tokens = len(prompt)
            self._take_choice(choice, event.usage)
        num_ids = len(self.ids) + len(self.prompt_ids)
        if self._num_chars + num_ids * self.ids.itemsize > self._limit:
            self._give_up("it is too long to be remembered")

    def _take_choice(self, choice: StreamChoice, usage: Usage | None) -> None:
        delta = choice.delta
        text = choice.text or delta.content or ""
        if choice.token_ids is not None:
            self.ids.extend(choice.token_ids)
            self._num_here += len(choice.token_ids)
        elif usage is not None:
            self._num_here = usage.completion_tokens or 0
            self.prompt_tokens = self.prompt_tokens or usage.prompt_tokens
        elif text:
            self.counts_events = True
            self._num_here += 1
        if delta.reasoning or delta.reasoning_content:
            self.has_reasoned = self.is_reasoning = True
        if delta.tool_calls:
            self._give_up("a tool call has begun")
        if text:
            self.tells_ids = self.tells_ids and choice.token_ids is not None
            self.is_reasoning = False
            self._parts.append(text)
            self._num_chars += len(text)
            self.num_shown = len(self.ids)

    def _give_up(self, why: str) -> None:
        self.why_not = why
        self._parts, self._raw, self._raw_bytes = [], [], 0
        self.ids, self.prompt_ids = array("q"), array("q")


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
