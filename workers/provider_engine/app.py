"""The HTTP side: OpenAI's chat over a provider, and what an agent asks of an engine."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from importlib.metadata import version
from typing import Any

from workers.engine_app import EngineApplication
from workers.exchange import Answer, Exchange
from workers.provider_engine.answers import ChatAnswer
from workers.provider_engine.failures import KeyRefused
from workers.provider_engine.metrics import Load
from workers.provider_engine.provider import Provider
from workers.provider_engine.requests import ChatRequest, read_request
from workers.refusals import GenerationFailed

LIBRARY = "any-llm-sdk"


class Application(EngineApplication):
    """Serves the models of one provider under the provider's own names."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._load = Load(provider.api)
        super().__init__(
            {
                ("GET", "/health"): self.health,
                ("GET", "/version"): self.version,
                ("GET", "/metrics"): self.metrics,
                ("GET", "/v1/models"): self.models,
                ("POST", "/v1/chat/completions"): self.chat_completions,
            }
        )

    async def health(self, _exchange: Exchange) -> Answer:
        return Answer(b"")

    async def version(self, _exchange: Exchange) -> Answer:
        return Answer.of_json({"version": f"{LIBRARY} {version(LIBRARY)}"})

    async def metrics(self, _exchange: Exchange) -> Answer:
        page = self._load.page()
        return Answer(page, content_type=b"text/plain; version=0.0.4; charset=utf-8")

    async def models(self, _exchange: Exchange) -> Answer:
        try:
            listed = await self._provider.models()
        except KeyRefused as refusal:
            # As an upstream that checks the key itself: the agent says what to do.
            return Answer.of_error(refusal, 401)
        entries = [model.model_dump(exclude_none=True) for model in listed]
        return Answer.of_json({"object": "list", "data": entries})

    async def chat_completions(self, exchange: Exchange) -> Answer:
        request, arguments = read_request(await exchange.body(), self._provider.api)
        answer_id = f"chatcmpl-{exchange.request_id()}"
        answer = ChatAnswer(answer_id, request.model, int(time.time()))
        with self._load.running.track_inprogress():
            if request.stream:
                return await exchange.stream_events(
                    self._events(request, arguments, answer)
                )
            whole = answer.whole(await self._provider.answer(arguments))
            self._load.count(answer.usage)
            return Answer.of_json(whole)

    async def _events(
        self, request: ChatRequest, arguments: Mapping[str, Any], answer: ChatAnswer
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of a stream, without framing, up to the usage."""
        try:
            async with aclosing(self._provider.chunks(arguments)) as chunks:
                async for chunk in chunks:
                    if (event := answer.piece(chunk)) is not None:
                        yield event
        finally:
            self._load.count(answer.usage)
        if not answer.has_begun:
            raise GenerationFailed("The provider of this model said nothing.")
        if request.wants_usage and (event := answer.last_piece()) is not None:
            yield event
