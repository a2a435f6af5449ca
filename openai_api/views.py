"""The endpoints under `/v1`: parse, authorise, one call, shape the answer."""

import math
from typing import Any, ClassVar

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from controller.errors import InvalidRequest, NotFound
from controller.fleet.snapshot import ModelView
from controller.gateway import gateway
from controller.identity.bounds import ANY_ENDPOINT
from controller.lean import LeanAPIView, LeanRequest, PumpedResponse, Source
from controller.models import ApiKey
from controller.relay.exchange import Exchange
from controller.relay.request import InferenceRequest
from openai_api import bodies, moderations, pooling, tokenization
from openai_api.authentication import authenticate
from openai_api.responses import json_response
from workers.protocol import Task

MAX_CLIENT_ID = 200


class OpenAIView(LeanAPIView):
    """A view for the holder of an API key."""

    endpoint: ClassVar[str]
    """What it is called where keys are bound to endpoints."""

    async def admit(self, request: LeanRequest) -> None:
        request.caller = await authenticate(request, self.endpoint)

    async def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The answer, refusals too, with where the caller stands in its limits."""
        response = await super().dispatch(request, *args, **kwargs)
        if request.caller is not None:
            response.raw_headers = gateway().limits.headers(request.caller)
        return response


class RelayView(OpenAIView):
    """Relays one checked request to a worker of the model that it names."""

    task: ClassVar[Task]
    engine_path: ClassVar[str] = ""
    body_type: ClassVar[type[bodies.RequestBody]]

    async def post(self, request: LeanRequest) -> HttpResponseBase:
        generation = gateway().keys.generation
        raw = await request.read_body()
        if gateway().keys.generation != generation:
            await self.admit(request)  # the key may have been revoked meanwhile
        checked, body = await bodies.read(raw, self.body_type, request.caller.scopes)
        is_resumable = checked.wants_stream and wants_to_resume(request)
        exchange = await gateway().open(
            request.caller,
            InferenceRequest(
                endpoint=self.endpoint,
                engine_path=self.engine_path,
                task=self.task,
                model=checked.model,
                body=body,
                stream=checked.wants_stream,
                show_usage=checked.wants_usage,
                request_id=request.request_id,
                client_request_id=client_request_id(request),
                session=session(request, checked),
                size=len(raw),
                queue_seconds=queue_seconds(request),
                arrived_at=request.arrived_at,
            ),
        )
        headers = answer_headers(exchange, is_explained=wants_explanation(request))
        if is_resumable:
            return event_stream(gateway().resumable.begin(exchange), headers)
        return await answer(exchange, headers)


class ChatCompletions(RelayView):
    task = Task.CHAT
    endpoint = "/v1/chat/completions"
    body_type = bodies.ChatBody


class Completions(RelayView):
    task = Task.COMPLETIONS
    endpoint = "/v1/completions"
    body_type = bodies.CompletionBody


class Embeddings(RelayView):
    task = Task.EMBEDDINGS
    endpoint = "/v1/embeddings"
    body_type = pooling.EmbeddingsBody


class Rerank(RelayView):
    task = Task.RERANK
    endpoint = "/v1/rerank"
    body_type = pooling.RerankBody


class Score(RelayView):
    task = Task.SCORE
    endpoint = "/v1/score"
    engine_path = "/score"  # vLLM warns in its log at each use of the other
    body_type = pooling.ScoreBody


class Tokenize(RelayView):
    task = Task.TOKENIZE
    endpoint = "/v1/tokenize"
    engine_path = "/tokenize"
    body_type = tokenization.TokenizeBody


class Detokenize(RelayView):
    task = Task.TOKENIZE
    endpoint = "/v1/detokenize"
    engine_path = "/detokenize"
    body_type = tokenization.DetokenizeBody


class Moderations(OpenAIView):
    """What the rules of this site say of some texts."""

    endpoint = "/v1/moderations"

    async def post(self, request: LeanRequest) -> HttpResponse:
        body = moderations.decode(await request.read_body())
        judged = await moderations.judge(gateway().moderator, request.caller, body)
        return json_response(judged)


class Stream(OpenAIView):
    """What is left of a resumable stream, behind the event that came last."""

    async def admit(self, request: LeanRequest) -> None:
        # A key that may ask for streams somewhere may come back to them.
        request_id = self.kwargs["request_id"]
        endpoint = gateway().resumable.endpoint_of(request_id)
        request.caller = await authenticate(request, endpoint or ANY_ENDPOINT)

    async def get(self, request: LeanRequest, request_id: str) -> HttpResponseBase:
        await request.read_body()  # from here on it is noticed if the client leaves
        last_event_id = request.META.get("HTTP_LAST_EVENT_ID", "")
        streams = gateway().resumable
        return event_stream(
            streams.resume(request.caller, request_id, last_event_id), {}
        )


class Models(OpenAIView):
    """The models that a request would be dispatched to now."""

    endpoint = "/v1/models"

    async def get(self, request: LeanRequest) -> HttpResponse:
        models = gateway().models(request.caller)
        return json_response(
            {"object": "list", "data": [model_object(model) for model in models]}
        )


class Model(OpenAIView):
    endpoint = "/v1/models"

    async def get(self, request: LeanRequest, name: str) -> HttpResponse:
        model = gateway().find_live_model(request.caller, name)
        return json_response(model_object(model))


async def unknown_path(request: LeanRequest, known: list[str]) -> HttpResponse:
    """Raise for an address that OpenAI has and we have not, or a misspelt one."""
    raise NotFound(
        f"Unknown path: {request.method} {request.path[:200]}. Under /v1 there are"
        f" {', '.join(known)}."
    )


async def answer(exchange: Exchange, headers: dict[str, str]) -> HttpResponseBase:
    """The exchange as a response: a stream that is pumped, or its whole body."""
    if exchange.request.stream:
        return event_stream(exchange, headers)
    await exchange.aclose()
    return HttpResponse(
        exchange.body(), content_type="application/json", headers=headers
    )


def event_stream(source: Source, headers: dict[str, str]) -> PumpedResponse:
    """The source's events as a response that proxies in between do not collect."""
    unbuffered = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return PumpedResponse(source, headers | unbuffered)


def answer_headers(exchange: Exchange, is_explained: bool) -> dict[str, str]:
    """What is told of an answer beside it, now that its first bytes are there."""
    headers = {"X-Switchyard-Overhead-Ms": f"{exchange.overhead_seconds * 1000:.2f}"}
    if is_explained:
        headers["X-Switchyard-Explain"] = exchange.explanation.as_header()
    if exchange.explanation.fallback_from:
        headers["X-Switchyard-Fallback"] = exchange.model.name
    if exchange.first_position is not None:
        headers |= queue_headers(exchange)
    return headers


def wants_to_resume(request: LeanRequest) -> bool:
    """Whether the client means to come back to its stream; raises `InvalidRequest`
    where nobody could tell that it is the same one."""
    if request.META.get("HTTP_X_SWITCHYARD_RESUMABLE", "") != "1":
        return False
    if request.caller.key_id is None:
        raise InvalidRequest(
            "x-switchyard-resumable: only the same API key can go on with a stream,"
            " and this request came without one.",
            param="x-switchyard-resumable",
        )
    return True


def wants_explanation(request: LeanRequest) -> bool:
    """Whether to tell why this worker: to operators who ask, with its address."""
    is_asked = request.META.get("HTTP_X_SWITCHYARD_EXPLAIN") == "1"
    return is_asked and ApiKey.Scope.FLEET in request.caller.scopes


def queue_headers(exchange: Exchange) -> dict[str, str]:
    """Of a request that had to wait: where in line it stood at first, and how long it
    has waited; of a stream that still waits, also how long it must expect to."""
    waited = (exchange.queued_seconds or 0.0) * 1000
    headers = {
        "X-Switchyard-Queue-Position": str(exchange.first_position),
        "X-Switchyard-Queue-Ms": f"{waited:.0f}",
    }
    place = exchange.place
    if place is not None and place.expected_seconds is not None:
        headers["X-Switchyard-Queue-Expected-Ms"] = (
            f"{place.expected_seconds * 1e3:.0f}"
        )
    return headers


def queue_seconds(request: LeanRequest) -> float | None:
    """How long the client lets its request wait in line; None if it does not say.

    Raises `InvalidRequest` for what is no number of seconds.
    """
    given = request.META.get("HTTP_X_SWITCHYARD_QUEUE_DEADLINE")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise InvalidRequest(
            f"The header x-switchyard-queue-deadline is {given[:100]!r}: write how many"
            " seconds the request may wait in line, such as 10.",
            param="x-switchyard-queue-deadline",
        )
    return seconds


def client_request_id(request: LeanRequest) -> str:
    """The client's own id, if it sent one that can be kept: printable, not long."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    return given[:MAX_CLIENT_ID] if given.isascii() and given.isprintable() else ""


def session(request: LeanRequest, checked: bodies.RequestBody) -> str:
    """What the client calls the session, by a header or in the body."""
    given: str = request.META.get("HTTP_X_SESSION_ID") or checked.session
    return given[:MAX_CLIENT_ID]


def model_object(model: ModelView) -> dict[str, Any]:
    """The model as OpenAI lists it, with what vLLM and we add."""
    return {
        "id": model.name,
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": "switchyard",
        "parent": model.parent or None,
        "max_model_len": model.context_length,
        "aliases": list(model.aliases),
        "tasks": sorted(model.tasks),
        "description": model.description,
        "license": model.licence,
    }
