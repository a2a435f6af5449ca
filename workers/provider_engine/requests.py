"""A chat request: what of it the provider's API can say, as any-llm takes it.

A field that would change nothing is let through unsent; one that cannot be translated
is refused by name, never dropped in silence.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from workers.refusals import RequestRefused
from workers.upstream_api import UpstreamApi

# Anthropic's API wants a number; all of its models that are served today give as many.
DEFAULT_MAX_TOKENS = 4096

COMMON = frozenset(
    {
        *("max_completion_tokens", "max_tokens", "reasoning_effort"),
        *("response_format", "stop", "temperature", "tool_choice", "tools"),
        *("top_k", "top_p"),
    }
)
SENT = {
    UpstreamApi.ANTHROPIC: COMMON | {"parallel_tool_calls"},
    UpstreamApi.GEMINI: COMMON | {"frequency_penalty", "presence_penalty", "seed"},
}
# Handled here, or of no meaning for the answer.
NOT_SENT = frozenset(
    {
        *("messages", "metadata", "model", "prompt_cache_key", "safety_identifier"),
        *("service_tier", "store", "stream", "stream_options", "user"),
    }
)
# Values that ask for what happens anyway.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "frequency_penalty": (0,),
    "ignore_eos": (False,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "min_p": (0,),
    "min_tokens": (0,),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "top_k": (-1, 0),
    "top_logprobs": (0,),
}
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
PARTS = {
    UpstreamApi.ANTHROPIC: frozenset({"text", "image_url", "file"}),
    UpstreamApi.GEMINI: frozenset({"text", "image_url", "file", "input_audio"}),
}


class Function(Struct):
    name: str
    arguments: str


class ToolCall(Struct):
    id: str
    function: Function


class Message(Struct):
    """What must be right of a message; what else it holds goes along."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None


class StreamOptions(Struct):
    include_usage: bool | None = None


class ChatRequest(Struct):
    """What is looked at here; `fields` of the body become any-llm's arguments."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


def read_request(body: bytes, api: UpstreamApi) -> tuple[ChatRequest, dict[str, Any]]:
    """Return the request and any-llm's arguments for it; raises `RequestRefused`."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
        request = msgspec.convert(fields, ChatRequest)
    except msgspec.DecodeError as error:
        raise RequestRefused(f"The body is not as it should be: {error}.") from error
    arguments = _sent(fields, api)
    raw = fields["messages"]
    arguments["model"] = request.model
    arguments["messages"] = [
        _translatable(message, given, f"messages[{index}]", api)
        for index, (message, given) in enumerate(
            zip(request.messages, raw, strict=True)
        )
    ]
    return request, arguments


def _sent(fields: Mapping[str, Any], api: UpstreamApi) -> dict[str, Any]:
    sent = {}
    for name, value in fields.items():
        if name in NOT_SENT or value is None or value in NEUTRAL.get(name, ()):
            continue
        if name not in SENT[api]:
            raise RequestRefused(
                f"{name}: {api} cannot be asked for this; leave it out.",
                name,
                "unsupported_parameter",
            )
        sent[name] = value
    limit = sent.pop("max_completion_tokens", None) or sent.get("max_tokens")
    if limit is None and api is UpstreamApi.ANTHROPIC:
        limit = DEFAULT_MAX_TOKENS
    return {**sent, "max_tokens": limit}


def _translatable(
    message: Message, given: Mapping[str, Any], where: str, api: UpstreamApi
) -> dict[str, Any]:
    """Return a message in the forms that any-llm translates to either provider."""
    if message.role not in ROLES:
        raise RequestRefused(f"{where}: there is no role {message.role!r}.", where)
    for call in message.tool_calls or ():
        _check_arguments(call.function, where)
    content: Any = message.content
    if message.role == "user" and isinstance(content, list):
        _check_parts(content, where, api)
    elif isinstance(content, list):
        content = "".join(_text_of(part, where) for part in content)
    elif content is None:
        content = ""
    role = "system" if message.role == "developer" else message.role
    return {**given, "role": role, "content": content}


def _check_arguments(function: Function, where: str) -> None:
    try:
        msgspec.json.decode(function.arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RequestRefused(
            f"{where}: the arguments of {function.name} are no JSON object: {error}.",
            where,
        ) from error


def _check_parts(parts: list[dict[str, Any]], where: str, api: UpstreamApi) -> None:
    for part in parts:
        if part.get("type") not in PARTS[api]:
            raise RequestRefused(
                f"{where}: {api} takes no part of type {part.get('type')!r}; it takes"
                f" {', '.join(sorted(PARTS[api]))}.",
                where,
            )


def _text_of(part: Mapping[str, Any], where: str) -> str:
    if part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise RequestRefused(f"{where}: only a user's message may hold media.", where)
    return str(part["text"])
