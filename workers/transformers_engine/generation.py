"""From a checked request to a stream of deltas, on the event loop's side."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from jinja2 import TemplateError

from workers.refusals import RequestRefused
from workers.transformers_engine.errors import context_exceeded, unsupported
from workers.transformers_engine.grammar import (
    Grammar,
    GrammarCompiler,
    UnusableGrammar,
)
from workers.transformers_engine.messages import TemplateMessage
from workers.transformers_engine.model import LoadedModel
from workers.transformers_engine.requests import (
    ChatRequest,
    CompletionRequest,
    Request,
)
from workers.transformers_engine.scheduler import Scheduler
from workers.transformers_engine.sequence import Delta, Sequence, StopRules
from workers.transformers_engine.tools import (
    Tool,
    calls_grammar,
    template_knows_tools,
)
from workers.transformers_engine.vocabulary import Vocabulary


@dataclass(frozen=True)
class Generation:
    """The answers wanted to one request, as groups that share a prompt each."""

    request: Request
    prompts: list[list[int]]
    echoes: list[str] = field(default_factory=list)
    """The prompts' texts, where they are to open the answers."""
    grammar: Grammar | None = None
    calls_tools: bool = False

    @property
    def num_choices(self) -> int:
        return self.request.num_choices

    @property
    def num_prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))

    @property
    def num_answers(self) -> int:
        return len(self.prompts) * self.num_choices


class Generator:
    """Turns requests into prompts, and prompts into deltas, with one model."""

    def __init__(self, loaded: LoadedModel, scheduler: Scheduler) -> None:
        self.loaded = loaded
        self.scheduler = scheduler
        self.vocabulary = Vocabulary(loaded.tokenizer)
        template = loaded.tokenizer.chat_template
        self._knows_tools = template_knows_tools(template)
        self._grammars = GrammarCompiler(loaded.tokenizer, loaded.vocabulary_size)

    def chat(self, request: ChatRequest) -> Generation:
        """Return what the chat request asks for; raises RequestRefused."""
        request.refuse_unsupported()
        tools = request.usable_tools()
        if not self._knows_tools:
            if tools:
                raise unsupported("tools", "tools: its chat template knows none")
            if any(message.needs_tools for message in request.messages):
                raise unsupported("messages", "the results of tools")
        prompt = self.chat_prompt(
            request.template_messages(),
            request.add_generation_prompt,
            request.continue_final_message,
            tools,
            request.template_variables(),
        )
        self._check_bounds(request, [prompt])
        return Generation(
            request,
            [prompt],
            grammar=self._grammar(request),
            calls_tools=bool(tools),
        )

    def completion(self, request: CompletionRequest) -> Generation:
        """Return what the completion request asks for; raises RequestRefused."""
        request.refuse_unsupported()
        prompts = request.prompts()
        tokens = [*map(self._tokens, prompts)]
        self._check_bounds(request, tokens)
        echoes = [*map(self._text, prompts)] if request.echo else []
        return Generation(request, tokens, echoes)

    def chat_prompt(
        self,
        messages: list[TemplateMessage],
        add_generation_prompt: bool,
        go_on: bool,
        tools: SequenceOf[Tool] = (),
        variables: Mapping[str, Any] = MappingProxyType({}),
    ) -> list[int]:
        """Return the tokens of a conversation in the model's own chat template."""
        if go_on and messages[-1]["role"] != "assistant":
            raise RequestRefused(
                "continue_final_message needs a last message by the assistant.",
                "continue_final_message",
            )
        try:
            tokens: list[int] = self.loaded.tokenizer.apply_chat_template(
                messages,
                tools=[tool.for_template() for tool in tools] or None,
                add_generation_prompt=add_generation_prompt,
                # A partial answer without a letter yet is the same as no answer.
                continue_final_message=go_on and bool(messages[-1]["content"].strip()),
                return_dict=False,
                **variables,
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise RequestRefused(
                f"messages: the model's chat template refuses them: {error}", "messages"
            ) from error
        return tokens

    async def run(
        self, generation: Generation
    ) -> AsyncGenerator[tuple[int, Delta], None]:
        """Yield each answer's index and deltas as they come, until all are finished.

        Closing the iterator, or its cancellation, takes what is unfinished off the
        model before its next step. Raises what made the engine fail.
        """
        loop = asyncio.get_running_loop()
        deltas: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()

        def deliver(index: int, delta: Delta) -> None:
            loop.call_soon_threadsafe(deltas.put_nowait, (index, delta))

        groups = self._groups(generation, deliver)
        try:
            for group in groups:
                self.scheduler.submit(group)
            num_unfinished = generation.num_answers
            while num_unfinished:
                index, delta = await deltas.get()
                if delta.error is not None:
                    raise delta.error
                num_unfinished -= delta.finish_reason is not None
                yield index, delta
        finally:
            self.scheduler.cancel([each for group in groups for each in group])

    def _groups(
        self, generation: Generation, deliver: Callable[[int, Delta], None]
    ) -> list[list[Sequence]]:
        """Return a group for each prompt, of a sequence for each of its answers.

        `deliver` is called with an answer's index, on the scheduler's thread.
        """
        return [
            [
                self._sequence(generation, position, choice, deliver)
                for choice in range(generation.num_choices)
            ]
            for position in range(len(generation.prompts))
        ]

    def _sequence(
        self,
        generation: Generation,
        position: int,
        choice: int,
        deliver: Callable[[int, Delta], None],
    ) -> Sequence:
        request, prompt = generation.request, generation.prompts[position]
        index = position * generation.num_choices + choice
        return Sequence(
            prompt=prompt,
            sampling=request.sampling(
                index, self.loaded.vocabulary_size, self.loaded.recommended
            ),
            stop=self._stop_rules(request, prompt),
            tokenizer=self.loaded.tokenizer,
            device=self.loaded.device,
            deliver=partial(deliver, index),
            grammar=generation.grammar and generation.grammar.copy(),
            echo=generation.echoes[position] if generation.echoes else None,
        )

    def _grammar(self, request: ChatRequest) -> Grammar | None:
        """Return what the answer is held to, if anything; raises RequestRefused."""
        schema, tools = request.schema(), request.callable_tools()
        field = "tools" if tools else "response_format"
        try:
            if schema is not None:
                return self._grammars.for_schema(schema)
            if tools:
                many = request.parallel_tool_calls is not False
                return self._grammars.for_lark(calls_grammar(tools, many))
        except UnusableGrammar as error:
            raise RequestRefused(
                f"{field}: the schema cannot be followed: {error}", field
            ) from error
        return None

    def _check_bounds(self, request: Request, prompts: list[list[int]]) -> None:
        if request.num_choices > self.scheduler.max_concurrency:
            raise RequestRefused(
                f"n: at most {self.scheduler.max_concurrency} answers at once.", "n"
            )
        limit, wished = self.loaded.context_length, request.completion_limit()
        vocabulary_size = self.loaded.vocabulary_size
        for prompt in prompts:
            if not prompt:
                raise RequestRefused("prompt: an empty prompt has no answer.", "prompt")
            if max(prompt) >= vocabulary_size:
                raise RequestRefused(
                    f"prompt: {max(prompt)} is not a token of this model.", "prompt"
                )
            if len(prompt) + (1 if wished is None else wished) > limit:
                raise context_exceeded(limit, len(prompt), wished)
        request.sampling(0, vocabulary_size)  # refuses biases for unknown tokens

    def _stop_rules(self, request: Request, prompt: list[int]) -> StopRules:
        room = self.loaded.context_length - len(prompt)
        ends = frozenset() if request.ignore_eos else self.loaded.end_tokens
        wished = request.completion_limit()
        return StopRules(
            max_tokens=room if wished is None else wished,
            min_tokens=request.min_tokens or 0,
            strings=request.stop_strings,
            tokens=ends | frozenset(request.stop_token_ids or ()),
        )

    def _tokens(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, list):
            return prompt
        return list(self.loaded.tokenizer(prompt)["input_ids"])

    def _text(self, prompt: str | list[int]) -> str:
        if isinstance(prompt, str):
            return prompt
        return str(self.loaded.tokenizer.decode(prompt))
