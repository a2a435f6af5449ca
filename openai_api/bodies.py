"""Request bodies of `/v1`: decoded once, checked field by field, names and all.

A field is one of four kinds: known (typed and checked here), passed (the engine's to
check), ignored (means something only on OpenAI's own servers), or an engine control,
which needs a key with the scope `engine`. Anything else is refused by name: what a
newer engine would make of an unknown field is not ours to guess.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from django.conf import settings
from msgspec import Meta, Struct

from controller.errors import InvalidRequest, PermissionRefused

Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
Count = Annotated[int, Meta(ge=1)]
# A text, one as token ids, or several of either; types cannot say "of one kind".
Prompt = str | Annotated[list[str | int | list[int]], Meta(min_length=1)]


class StreamOptions(Struct):
    include_usage: bool | None = None


class Message(Struct):
    role: Annotated[str, Meta(min_length=1, max_length=50)]
    content: str | list[dict[str, Any]] | None = None


# (field, what is asked of it, this server's limit)
Ceiling = tuple[str, int, int]


class RequestBody(Struct):
    """What every body has, and how it is checked beyond its types."""

    passed: ClassVar[frozenset[str]] = frozenset()
    """Fields that are the engine's to check."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    user: str | None = None
    prompt_cache_key: str | None = None

    @property
    def session(self) -> str:
        """What the client says that it belongs together with; empty: nothing."""
        return self.prompt_cache_key or self.user or ""

    @property
    def wants_stream(self) -> bool:
        return False

    @property
    def wants_usage(self) -> bool:
        """Of a stream: to see its usage event."""
        return False

    def ceilings(self) -> Iterable[Ceiling]:
        """Everything that has a limit."""
        return ()

    def check(self) -> None:
        """Raise `InvalidRequest` for what types and limits cannot say."""


# They change the prompt or the sampling of this request alone.
PASSED = frozenset(
    {
        "add_generation_prompt",
        "bad_words",
        "continue_final_message",
        "documents",
        "functions",
        "function_call",
        "include_reasoning",
        "include_stop_str_in_output",
        "length_penalty",
        "reasoning_effort",
        "response_format",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "truncate_prompt_tokens",
    }
)


class GenerationBody(RequestBody):
    """What chat and completions share."""

    passed: ClassVar[frozenset[str]] = PASSED

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    n: Count | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    top_k: int | None = None
    min_p: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0)] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    ignore_eos: bool | None = None

    @property
    def wants_stream(self) -> bool:
        return bool(self.stream)

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def ceilings(self) -> Iterable[Ceiling]:
        stops = len(self.stop) if isinstance(self.stop, list) else 0
        return (
            ("n", self.n or 1, settings.MAX_CHOICES),
            ("stop", stops, settings.MAX_STOP_STRINGS),
        )


class ChatBody(GenerationBody, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None

    def ceilings(self) -> Iterable[Ceiling]:
        return (
            *super().ceilings(),
            ("top_logprobs", self.top_logprobs or 0, settings.MAX_TOP_LOGPROBS),
        )

    def check(self) -> None:
        refuse_remote_media(self.messages)


class CompletionBody(GenerationBody, kw_only=True):
    prompt: Prompt
    best_of: Count | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0)] | None = None
    suffix: str | None = None

    def ceilings(self) -> Iterable[Ceiling]:
        return (
            *super().ceilings(),
            ("best_of", self.best_of or 1, settings.MAX_CHOICES),
            ("logprobs", self.logprobs or 0, settings.MAX_TOP_LOGPROBS),
        )

    def check(self) -> None:
        refuse_mixed("prompt", self.prompt)


Body = TypeVar("Body", bound=RequestBody)
T = TypeVar("T")

# They steer OpenAI's own storage, billing or routing; clients send them by habit.
IGNORED = frozenset(
    {
        "metadata",
        "modalities",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
        "web_search_options",
    }
)
# They reach past this request, into the engine's queue, cache or template.
ENGINE_CONTROLS = frozenset(
    {
        "cache_salt",
        "chat_template",
        "chat_template_kwargs",
        "kv_transfer_params",
        "mm_processor_kwargs",
        "priority",
        "prompt_embeds",
        "prompt_logprobs",
        "request_id",
        "return_token_ids",
        "vllm_xargs",
    }
)

# A body of many small parts takes a millisecond for each 15 kB. Longer ones are read in
# a thread, which lets all other requests go on meanwhile.
MAX_BYTES_ON_LOOP = 256 * 1024
WRITTEN = frozenset({"refusal", "text", "thinking"})
# Some readers of addresses pass over line breaks and control characters within them.
PASSED_OVER = r"[\s\0-\x20]*"
SCHEMES = ("http:", "https:", "ftp:", "file:", "s3:", "gs:")
REMOTE = re.compile(
    PASSED_OVER + "(?:" + "|".join(PASSED_OVER.join(each) for each in SCHEMES) + ")",
    re.IGNORECASE,
)


async def read(
    raw: bytes, kind: type[Body], scopes: frozenset[str]
) -> tuple[Body, dict[str, Any]]:
    """What `decode` says of the body, with nobody kept waiting for a long one."""
    if len(raw) > MAX_BYTES_ON_LOOP:
        return await asyncio.to_thread(decode, raw, kind, scopes)
    return decode(raw, kind, scopes)


def decode(
    raw: bytes, kind: type[Body], scopes: frozenset[str]
) -> tuple[Body, dict[str, Any]]:
    """(the checked fields, the body for the engine), both from one reading of `raw`.

    Raises `InvalidRequest` naming the field, `PermissionRefused` for an engine control
    without its scope.
    """
    given = read_json(raw)
    names = known_names(kind)
    body: dict[str, Any] = {}
    for name, value in given.items():
        if name in names or name in kind.passed:
            if value is not None and name not in IGNORED:
                body[name] = value
        elif name not in IGNORED:
            _refuse_unknown(name, names | kind.passed, scopes)
            body[name] = value
    checked = convert(given, kind)
    _check_ceilings(checked)
    checked.check()
    return checked, body


def convert(given: dict[str, Any], kind: type[T]) -> T:
    """The fields by their types. Raises `InvalidRequest` naming the one that is not."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as exc:
        raise _named(exc) from exc


def known_names(kind: type[Struct]) -> frozenset[str]:
    return frozenset(kind.__struct_fields__)


def read_json(raw: bytes) -> dict[str, Any]:
    """The object, no name in it twice. Two readers disagree over which of two equal
    names counts, and what was checked must be what the engine reads."""
    try:
        given = msgspec.json.decode(raw, type=dict[str, Any])
        PAIRS.decode(raw.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as exc:
        raise InvalidRequest(
            f"We could not parse the JSON body of your request: {exc}.",
            code="invalid_json",
        ) from exc
    except RecursionError as exc:
        raise InvalidRequest(
            "The JSON body is nested too deeply.", code="invalid_json"
        ) from exc
    return given


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    """Only looks; the value it gives is not kept."""
    if len(pairs) > 1:
        seen = set()
        for name, _value in pairs:
            if name in seen:
                raise InvalidRequest(
                    f"The field `{name[:100]}` stands in the body more than once.",
                    param=name[:100],
                    code="duplicate_field",
                )
            seen.add(name)


PAIRS = json.JSONDecoder(object_pairs_hook=_refuse_twice)


def _refuse_unknown(name: str, names: frozenset[str], scopes: frozenset[str]) -> None:
    """Raise unless `name` is an engine control, or anything, of a caller who may."""
    folded = name.lower()
    if folded != name and folded in names | IGNORED | ENGINE_CONTROLS:
        raise InvalidRequest(
            f"Unknown field `{name[:100]}`: names are case-sensitive, write"
            f" `{folded}`.",
            param=name[:100],
            code="unknown_parameter",
        )
    if "engine" in scopes:
        return
    if name in ENGINE_CONTROLS:
        raise PermissionRefused(
            f"The field `{name}` controls the engine itself; it needs an API key with"
            " the scope `engine`.",
            param=name,
        )
    raise InvalidRequest(
        f"Unrecognized request argument supplied: {name[:100]}.",
        param=name[:100],
        code="unknown_parameter",
    )


def _named(exc: msgspec.ValidationError) -> InvalidRequest:
    """msgspec's message in a sentence, with the field that it names as `param`."""
    what, _, where = str(exc).partition(" - at `$")
    path = where.strip("`.")
    if what.startswith("Object missing required field"):
        missing = what.split("`")[1]
        path = f"{path}.{missing}" if path else missing
        return InvalidRequest(
            f"Missing required parameter: '{path}'.",
            param=path,
            code="missing_required_parameter",
        )
    return InvalidRequest(
        f"Invalid value for '{path}': {what[0].lower()}{what[1:]}.", param=path or None
    )


def refuse_mixed(name: str, given: str | list[str | int | list[int]]) -> None:
    """Raise for a list of more than one kind of things."""
    if isinstance(given, list) and len(set(map(type, given))) > 1:
        raise InvalidRequest(
            f"Invalid value for '{name}': send texts, or token ids, or lists of token"
            " ids, and not one beside another.",
            param=name,
        )


def refuse_remote_media(messages: list[Message]) -> None:
    """Raise for an address in a media part: the engine would fetch it, and from where
    it stands the inside of our network can be reached."""
    for at, message in enumerate(messages):
        if isinstance(message.content, list):
            for index, part in enumerate(message.content):
                if any(REMOTE.match(text) for text in _texts_of(part)):
                    where = f"messages[{at}].content[{index}]"
                    raise InvalidRequest(
                        f"Invalid value for '{where}': this server fetches no media."
                        " Send it inside the request, as a data: URL.",
                        param=where,
                        code="remote_media",
                    )


def _texts_of(value: Any) -> Iterator[str]:
    """All strings in a content part but those that a person or a model has written."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts_of(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in WRITTEN:
                yield from _texts_of(item)


def _check_ceilings(body: RequestBody) -> None:
    for name, asked, ceiling in body.ceilings():
        if asked > ceiling:
            raise InvalidRequest(
                f"Invalid value for '{name}': {asked} is above this server's limit of"
                f" {ceiling}.",
                param=name,
            )
