"""The engine's HTTP side: a plain ASGI application over one or more models."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import transformers

from workers.engine_app import EngineApplication
from workers.exchange import Answer, Exchange
from workers.refusals import RequestRefused
from workers.transformers_engine.answers import (
    ChatAnswers,
    CompletionAnswers,
    Usage,
)
from workers.transformers_engine.embeddings import (
    EmbeddingRequest,
    embeddings_answer,
)
from workers.transformers_engine.generation import (
    Generation,
    Generator,
)
from workers.transformers_engine.metrics import metrics_page
from workers.transformers_engine.requests import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    Request,
    TokenizeRequest,
    decode_body,
)
from workers.transformers_engine.sampling import TokenScore
from workers.transformers_engine.served import ServedModel, ServedModels
from workers.transformers_engine.vocabulary import Vocabulary


class Application(EngineApplication):
    """Answers OpenAI's calls, and those by which an agent looks after an engine."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = ServedModels(models)
        self._started_at = int(time.time())
        super().__init__(
            {
                ("GET", "/health"): self.health,
                ("GET", "/version"): self.version,
                ("GET", "/metrics"): self.metrics,
                ("GET", "/v1/models"): self.models,
                ("POST", "/v1/chat/completions"): self.chat_completions,
                ("POST", "/v1/completions"): self.completions,
                ("POST", "/v1/embeddings"): self.embeddings,
                ("POST", "/tokenize"): self.tokenize,
                ("POST", "/detokenize"): self.detokenize,
            }
        )

    async def health(self, _exchange: Exchange) -> Answer:
        # Without its thread a model answers nothing: the agent starts the engine anew.
        is_alive = all(model.worker.is_alive for model in self._models.all)
        return Answer(b"", 200 if is_alive else 503)

    async def version(self, _exchange: Exchange) -> Answer:
        return Answer.of_json({"version": transformers.__version__})

    async def metrics(self, _exchange: Exchange) -> Answer:
        page = metrics_page([model.worker for model in self._models.all])
        return Answer(page, content_type=b"text/plain; version=0.0.4; charset=utf-8")

    async def models(self, _exchange: Exchange) -> Answer:
        entries = [
            {
                "id": name,
                "object": "model",
                "created": self._started_at,
                "owned_by": "switchyard",
                "root": model.names[0],
                "parent": model.parent,
                "max_model_len": model.does.loaded.context_length,
            }
            for model in self._models.all
            for name in model.names
        ]
        return Answer.of_json({"object": "list", "data": entries})

    async def chat_completions(self, exchange: Exchange) -> Answer:
        request = decode_body(await exchange.body(), ChatRequest)
        model = self._models.named(request.model)
        # In a thread: the tokens of a very long text take seconds to find.
        generation = await asyncio.to_thread(model.generator.chat, request)
        envelope = self._envelope(exchange, "chatcmpl", request, model)
        answers = ChatAnswers(*envelope, calls_tools=generation.calls_tools)
        return await self._respond(exchange, model.generator, generation, answers)

    async def completions(self, exchange: Exchange) -> Answer:
        request = decode_body(await exchange.body(), CompletionRequest)
        model = self._models.named(request.model)
        generation = await asyncio.to_thread(model.generator.completion, request)
        answers = CompletionAnswers(*self._envelope(exchange, "cmpl", request, model))
        return await self._respond(exchange, model.generator, generation, answers)

    async def embeddings(self, exchange: Exchange) -> Answer:
        request = decode_body(await exchange.body(), EmbeddingRequest)
        model = self._models.named(request.model)
        name = request.model or model.names[0]
        answer = await embeddings_answer(request, model.embedder, name)
        return Answer.of_json(answer)

    async def tokenize(self, exchange: Exchange) -> Answer:
        request = decode_body(await exchange.body(), TokenizeRequest)
        model = self._models.named(request.model)
        loaded = model.does.loaded
        if request.messages:
            messages = [message.for_template() for message in request.messages]
            tokens = model.generator.chat_prompt(
                messages, request.add_generation_prompt, go_on=False
            )
        elif request.prompt is not None:
            tokens = loaded.tokenizer(
                request.prompt, add_special_tokens=request.add_special_tokens
            )["input_ids"]
        else:
            raise RequestRefused("prompt or messages must be given.", "prompt")
        count = {"count": len(tokens), "max_model_len": loaded.context_length}
        return Answer.of_json({**count, "tokens": tokens})

    async def detokenize(self, exchange: Exchange) -> Answer:
        request = decode_body(await exchange.body(), DetokenizeRequest)
        try:
            model = self._models.named(request.model)
            prompt = model.does.loaded.tokenizer.decode(request.tokens)
        except OverflowError as error:
            raise RequestRefused(
                "tokens: not this model's tokens.", "tokens"
            ) from error
        return Answer.of_json({"prompt": prompt})

    @staticmethod
    def _envelope(
        exchange: Exchange, kind: str, request: Request, model: ServedModel
    ) -> tuple[str, str, int, Vocabulary]:
        name = request.model or model.names[0]
        vocabulary = model.generator.vocabulary
        return f"{kind}-{exchange.request_id()}", name, int(time.time()), vocabulary

    async def _respond(
        self,
        exchange: Exchange,
        generator: Generator,
        generation: Generation,
        answers: ChatAnswers | CompletionAnswers,
    ) -> Answer:
        if generation.request.stream:
            chunks = self._chunks(generator, generation, answers)
            return await exchange.stream_events(chunks)
        texts = [""] * generation.num_answers
        scores: list[list[TokenScore]] = [[] for _ in texts]
        reasons: list[str | None] = [None] * len(texts)
        num_tokens = [0] * len(texts)
        async with aclosing(generator.run(generation)) as deltas:
            async for index, delta in deltas:
                texts[index] += delta.text
                scores[index] += delta.scores
                reasons[index] = delta.finish_reason
                num_tokens[index] = delta.num_tokens
        choices = [
            answers.whole(index, texts[index], scores[index], reasons[index])
            for index in range(len(texts))
        ]
        usage = Usage(generation.num_prompt_tokens, sum(num_tokens))
        return Answer.of_json(answers.answer(choices, usage))

    async def _chunks(
        self,
        generator: Generator,
        generation: Generation,
        answers: ChatAnswers | CompletionAnswers,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of a stream, without framing, up to the last usage."""
        request = generation.request
        num_tokens = [0] * generation.num_answers

        def usage() -> Usage:
            return Usage(generation.num_prompt_tokens, sum(num_tokens))

        def chunk(choices: list[dict[str, Any]], with_usage: bool) -> bytes:
            body = answers.chunk(choices, usage() if with_usage else None)
            if not (request.wants_usage or with_usage):
                del body["usage"]
            return msgspec.json.encode(body)

        in_each = request.wants_usage_in_each_chunk
        begun: set[int] = set()
        async with aclosing(generator.run(generation)) as deltas:
            async for index, delta in deltas:
                if index not in begun:
                    # Not before the first token: until then a failure has a status.
                    begun.add(index)
                    opening = answers.opening(index)
                    if opening is not None:
                        yield chunk([opening], in_each)
                num_tokens[index] = delta.num_tokens
                if delta.text or delta.finish_reason:
                    piece = answers.piece(
                        index, delta.text, delta.scores, delta.finish_reason
                    )
                    if piece is not None:
                        yield chunk([piece], in_each)
        if request.wants_usage:
            yield chunk([], with_usage=True)
