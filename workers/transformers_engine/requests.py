"""The bodies of requests: their shapes and bounds, read and checked in one step."""

import re
from inspect import signature
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from transformers import PreTrainedTokenizerBase

from workers.refusals import RequestRefused
from workers.transformers_engine.errors import unsupported
from workers.transformers_engine.messages import Message, TemplateMessage
from workers.transformers_engine.sampling import NEUTRAL, SamplingParameters
from workers.transformers_engine.tools import NamedChoice, Tool

Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
Token = Annotated[int, Meta(ge=0)]
Bias = Annotated[float, Meta(ge=-100.0, le=100.0)]

Prompts = str | list[str | Token | list[Token]]
Shape = TypeVar("Shape")
Number = TypeVar("Number", int, float)

MAX_LOGPROBS = 20
RESERVED_VARIABLES = frozenset(
    signature(PreTrainedTokenizerBase.apply_chat_template).parameters
) | {"messages"}
# What is true or holds something asks for what only vLLM does.
UNSUPPORTED = (
    *("structured_outputs", "bad_words", "allowed_token_ids"),
    *("truncate_prompt_tokens", "include_stop_str_in_output", "return_token_ids"),
    "chat_template",
)
FIELD_IN_MESSAGE = re.compile(r" - at `\$\.?([A-Za-z_]*)")


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class Request(Struct, kw_only=True, frozen=True):
    """What chat and plain completions have in common.

    null stands for the default, as in OpenAI's API.
    """

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    max_tokens: CountOrZero | None = None
    min_tokens: CountOrZero | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[Token] | None = None
    ignore_eos: bool | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=10.0)] | None = None
    logit_bias: dict[str, Bias] | None = None
    # Of vLLM. They would change the answer, so they are refused and not overlooked.
    structured_outputs: Any = None
    bad_words: Any = None
    allowed_token_ids: Any = None
    truncate_prompt_tokens: Any = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    prompt_logprobs: int | None = None
    return_token_ids: bool | None = None

    @property
    def stop_strings(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def wants_usage_in_each_chunk(self) -> bool:
        options = self.stream_options
        return options is not None and options.continuous_usage_stats

    @property
    def num_choices(self) -> int:
        return self.n or 1

    def completion_limit(self) -> int | None:
        """Return how many tokens the client allows; None leaves it to the context."""
        return self.max_tokens

    def num_logprobs(self) -> int | None:
        raise NotImplementedError

    def refuse_unsupported(self) -> None:
        """Raise `RequestRefused` for what this engine cannot do."""
        for field in UNSUPPORTED:
            if getattr(self, field, None):
                raise unsupported(field, field)
        if self.prompt_logprobs is not None:
            raise unsupported("prompt_logprobs", "prompt_logprobs")
        if self.skip_special_tokens is False:
            raise unsupported("skip_special_tokens", "special tokens in answers")

    def sampling(
        self,
        index: int,
        vocabulary_size: int,
        recommended: SamplingParameters = NEUTRAL,
    ) -> SamplingParameters:
        """Return the parameters of the choice numbered `index`.

        What the client leaves open is as `recommended`. With a seed the choices still
        differ from each other, each by its own seed.
        """
        return SamplingParameters(
            temperature=_or(self.temperature, recommended.temperature),
            top_p=_or(self.top_p, recommended.top_p),
            top_k=max(0, _or(self.top_k, recommended.top_k)),
            min_p=_or(self.min_p, recommended.min_p),
            seed=None if self.seed is None else (self.seed + index) % 2**63,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=_or(
                self.repetition_penalty, recommended.repetition_penalty
            ),
            logit_bias=_token_biases(self.logit_bias or {}, vocabulary_size),
            num_logprobs=self.num_logprobs(),
        )


class JsonSchema(Struct, kw_only=True, frozen=True):
    name: str = ""
    schema: dict[str, Any] | bool
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def schema(self) -> dict[str, Any] | bool | None:
        """Return the schema that the answer must follow; None if it is free."""
        if self.type == "json_object":
            return {"type": "object"}
        if self.type == "json_schema":
            if self.json_schema is None:
                raise RequestRefused(
                    "response_format: json_schema is missing.", "response_format"
                )
            return self.json_schema.schema
        return None


class ChatRequest(Request, kw_only=True, frozen=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    documents: list[dict[str, Any]] | None = None
    chat_template: Any = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None

    def completion_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    def template_messages(self) -> list[TemplateMessage]:
        """Return the messages as templates read them; refuses what is no text."""
        return [message.for_template() for message in self.messages]

    def template_variables(self) -> dict[str, Any]:
        """Return what else the template is given, such as Qwen's `enable_thinking`.

        Raises `RequestRefused` for what is no template's but this engine's to say.
        """
        given = dict(self.chat_template_kwargs or {})
        if reserved := sorted(given.keys() & RESERVED_VARIABLES):
            raise RequestRefused(
                f"chat_template_kwargs: {reserved[0]} cannot be given here.",
                "chat_template_kwargs",
            )
        if self.reasoning_effort is not None:
            given.setdefault("reasoning_effort", self.reasoning_effort)
        return {"documents": self.documents, **given}

    def usable_tools(self) -> list[Tool]:
        """Return the tools that the model may call."""
        return [] if self.tool_choice == "none" else self.tools or []

    def callable_tools(self) -> list[Tool]:
        """Return the tools of which the answer must call one; none: it is free."""
        if isinstance(self.tool_choice, NamedChoice):
            name = self.tool_choice.function.name
            return [tool for tool in self.tools or [] if tool.function.name == name]
        return (self.tools or []) if self.tool_choice == "required" else []

    def schema(self) -> dict[str, Any] | bool | None:
        """Return the schema that the answer must follow; None if it is free."""
        return self.response_format.schema() if self.response_format else None

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        if self.functions:
            raise unsupported("functions", "functions, the forerunner of tools")
        self._refuse_bad_tool_choice()
        if self.schema() is not None:
            self._refuse_beside_schema()
        if self.add_generation_prompt and self.continue_final_message:
            raise RequestRefused(
                "continue_final_message needs add_generation_prompt to be false.",
                "continue_final_message",
            )
        if self.top_logprobs and not self.logprobs:
            raise RequestRefused("top_logprobs needs logprobs: true.", "top_logprobs")

    def _refuse_bad_tool_choice(self) -> None:
        choice = self.tool_choice
        if choice in (None, "none", "auto"):
            return
        if not self.callable_tools():
            raise RequestRefused(
                "tool_choice: there is no such tool in tools.", "tool_choice"
            )
        if self.continue_final_message:
            raise RequestRefused(
                "tool_choice: a partial answer cannot be continued by a forced call.",
                "tool_choice",
            )

    def _refuse_beside_schema(self) -> None:
        if self.continue_final_message:
            raise RequestRefused(
                "response_format: a partial answer cannot be continued in JSON.",
                "response_format",
            )
        if self.usable_tools():
            raise RequestRefused(
                "response_format: an answer cannot be held to a schema while it may"
                ' call tools; send tool_choice "none" or no tools.',
                "response_format",
            )


class CompletionRequest(Request, kw_only=True, frozen=True):
    prompt: Prompts
    logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def num_logprobs(self) -> int | None:
        return self.logprobs

    def prompts(self) -> list[str | list[int]]:
        """Return the prompts one by one, each as text or as tokens."""
        return prompt_list(self.prompt, "prompt")

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        if self.max_tokens == 0 and not self.echo:
            raise RequestRefused(
                "max_tokens: 0 needs echo: there would be no answer.", "max_tokens"
            )
        if self.suffix:
            raise unsupported("suffix", "suffixes")
        if self.best_of is not None and self.best_of != self.num_choices:
            raise unsupported("best_of", "best_of other than n")


class TokenizeRequest(Struct, kw_only=True, frozen=True):
    model: str = ""
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True


class DetokenizeRequest(Struct, kw_only=True, frozen=True):
    model: str = ""
    tokens: list[Token]


def decode_body(body: bytes, shape: type[Shape]) -> Shape:
    """Return `body` as a `shape`; raises RequestRefused naming the field at fault."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        message = str(error)
        found = FIELD_IN_MESSAGE.search(message) or re.search(r"field `(\w+)`", message)
        field = found.group(1) if found else None
        text = f"{field}: {message}" if field else message
        raise RequestRefused(text, field or None) from error
    except msgspec.DecodeError as error:
        raise RequestRefused(f"The body is not valid JSON: {error}.") from error


def prompt_list(given: Prompts, field: str) -> list[str | list[int]]:
    """Return the prompts in `field` one by one; raises RequestRefused for a mixture."""
    if isinstance(given, str):
        return [given]
    tokens = [part for part in given if isinstance(part, int)]
    if tokens and len(tokens) == len(given):
        return [tokens]
    others = [part for part in given if not isinstance(part, int)]
    if tokens or not others:
        raise RequestRefused(
            f"{field} must be text, tokens, or a list of one of them.", field
        )
    return others


def _or(value: Number | None, default: Number) -> Number:
    return default if value is None else value


def _token_biases(biases: dict[str, float], vocabulary_size: int) -> dict[int, float]:
    tokens = {}
    for name, bias in biases.items():
        if not (name.isascii() and name.isdigit() and int(name) < vocabulary_size):
            raise RequestRefused(
                f"logit_bias: {name!r} is not a token of this model.", "logit_bias"
            )
        tokens[int(name)] = bias
    return tokens
