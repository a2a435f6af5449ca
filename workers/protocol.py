"""The wire shapes that workers and the controller exchange, as msgspec Structs.

All control calls are JSON over HTTP under `/controller/`:

| call | credential (`Authorization: Bearer`) | body | answer |
| --- | --- | --- | --- |
| `POST /controller/workers/` | join token | `JoinRequest` | 201 `JoinAnswer` |
| the same, with `worker_id` | worker credential | `JoinRequest` | 200 `JoinAnswer` |
| `POST .../{id}/heartbeat/` | worker credential | `Heartbeat` | `HeartbeatAnswer` |
| `DELETE .../{id}/` | worker credential | none | 204 |
| `POST /controller/check/` | join token, not spent | `CheckRequest` | `CheckAnswer` |

A refusal is a 4xx whose body is `Refusal`; its `error.code` is one of `RefusalCode`.
A worker that is answered 401 or 404 to a heartbeat forgets nothing: it joins again,
first with its own credential, then with the join token file as it reads by then.

This module imports neither Django nor an engine. Unknown fields are ignored by both
sides, so that an older worker can talk to a newer controller; `protocol` is raised
only by a change that an older peer would misunderstand.
"""

from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct, field

PROTOCOL_VERSION = 1

MAX_REASON = 500
MAX_WEIGHT = 1000.0
MAX_LOG_LINES = 200
MAX_LOG_LINE = 500  # characters
NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores none

NonNegativeInt = Annotated[int, Meta(ge=0)]
LogLine = Annotated[str, Meta(max_length=MAX_LOG_LINE, pattern=NO_NUL)]
PositiveInt = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(gt=0.0, le=MAX_WEIGHT)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
ModelName = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$")
]


class Task(StrEnum):
    """What a served model can be asked for; each is one family of engine paths."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    SCORE = "score"
    RERANK = "rerank"
    TOKENIZE = "tokenize"
    """Text to tokens and back, without the model's weights."""


TEXT, IMAGE = "text", "image"
"""Modalities: what else than text a model may take in."""


class WorkerState(StrEnum):
    """What the agent knows of its engine."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class AdapterState(StrEnum):
    """How far a worker is with an adapter that was wished of it."""

    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    FAILED = "failed"


class RefusalCode(StrEnum):
    """Why the controller refused a call, for the worker to say what to do about it."""

    BAD_REQUEST = "bad_request"
    PROTOCOL_MISMATCH = "protocol_mismatch"
    TOKEN_MISSING = "join_token_missing"  # noqa: S105  (a code)
    TOKEN_INVALID = "join_token_invalid"  # noqa: S105  (a code)
    TOKEN_USED = "join_token_used"  # noqa: S105  (a code)
    TOKEN_EXPIRED = "join_token_expired"  # noqa: S105  (a code)
    WORKER_UNKNOWN = "worker_unknown"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    ADDRESS_UNRESOLVABLE = "address_unresolvable"
    ADDRESS_TAKEN = "address_taken"
    MODEL_NAME_TAKEN = "model_name_taken"
    ENGINE_UNREACHABLE = "engine_unreachable"
    ENGINE_OPEN = "engine_open"
    ENGINE_REDIRECTS = "engine_redirects"
    ENGINE_REFUSES_KEY = "engine_refuses_key"
    ENGINE_SERVES_OTHER = "engine_serves_other_models"


class ModelOffer(Struct, kw_only=True, frozen=True):
    """One model that the worker's engine serves."""

    name: ModelName
    aliases: list[ModelName] = []
    tasks: list[Task] = field(default_factory=lambda: [Task.CHAT, Task.COMPLETIONS])
    modalities: list[str] = field(default_factory=lambda: [TEXT])
    context_length: NonNegativeInt
    """Prompt and completion together, in tokens, as the engine reports it; 0: it does
    not say, as most hosted servers do not."""
    parent: str | None = None
    """The base model's name, for an adapter."""
    upstream_model: str | None = None
    """The engine's own name for it, where that differs from `name`."""


class Capacity(Struct, kw_only=True, frozen=True):
    """How much the engine takes at once."""

    max_concurrency: PositiveInt
    kv_cache_tokens: PositiveInt | None = None


class JoinRequest(Struct, kw_only=True, frozen=True):
    """What a worker says of itself when it asks to be dispatched to."""

    protocol: int = PROTOCOL_VERSION
    worker_id: str | None = None
    """Set by a worker that was here before; the bearer is then its own credential."""
    address: Annotated[str, Meta(max_length=500)]
    """`http://host:port` or `https://...`, as the controller reaches the engine."""
    base_path: Annotated[str, Meta(max_length=200)] = "/v1"
    """Where the engine's API begins: `/api/v1` where it lies below a prefix."""
    shares_address: bool = False
    """It stands for an upstream that others may register too, with keys of theirs."""
    engine: Annotated[str, Meta(max_length=50)]
    engine_version: Annotated[str, Meta(max_length=50)] = ""
    start_id: Annotated[str, Meta(max_length=64)]
    """New at every start of the engine, with which lifetime counters begin from 0."""
    models: Annotated[list[ModelOffer], Meta(min_length=1, max_length=256)]
    capacity: Capacity
    weight: Weight = 1.0
    labels: dict[str, str] = {}
    engine_key: Annotated[str, Meta(max_length=500)] = ""
    """The bearer key that guards the engine; empty only with a keyless join token."""
    exclusive: bool = False
    """No other worker may serve these model names while this one is registered."""
    can_continue: bool = False
    """It goes on from a partial assistant message (`continue_final_message`)."""
    takes_adapters: bool = False
    """Its engine loads and unloads adapters while it runs."""
    extra_body: dict[str, Any] = {}
    extra_headers: dict[str, str] = {}


class JoinAnswer(Struct, kw_only=True, frozen=True):
    """What the worker is to be known by, and how often it is to be heard."""

    worker_id: str
    credential: str | None = None
    """The worker's own secret: given once, at the first join. None: keep yours."""
    heartbeat_seconds: float
    expiry_seconds: float
    protocol: int = PROTOCOL_VERSION


class AdapterReport(Struct, kw_only=True, frozen=True):
    """How one of the wished adapters fares."""

    name: Annotated[str, Meta(max_length=200, pattern=NO_NUL)]
    state: AdapterState
    reason: Annotated[str, Meta(max_length=MAX_REASON, pattern=NO_NUL)] = ""
    """Why it failed, or what else there is to say."""


class Heartbeat(Struct, kw_only=True, frozen=True):
    """The engine's real numbers, every `heartbeat_seconds`.

    `running` and `waiting` are requests in the engine now; the `_total` counters run
    over the life of the engine start named by `start_id`.
    """

    protocol: int = PROTOCOL_VERSION
    state: WorkerState
    start_id: str
    running: NonNegativeInt = 0
    waiting: NonNegativeInt = 0
    kv_cache_usage: Fraction | None = None
    prefix_cache_queries_total: NonNegativeInt | None = None
    prefix_cache_hits_total: NonNegativeInt | None = None
    prompt_tokens_total: NonNegativeInt | None = None
    generation_tokens_total: NonNegativeInt | None = None
    loading_progress: Fraction | None = None
    num_restarts: NonNegativeInt = 0
    models: list[str] = field(default_factory=list)
    """Names loaded now."""
    adapters: Annotated[list[AdapterReport], Meta(max_length=256)] = []
    """Those that are wished, and those that are being unloaded."""
    log: Annotated[list[LogLine], Meta(max_length=MAX_LOG_LINES)] | None = None
    """The last lines of engine and agent, without secrets, if they are wished."""


class AdapterWish(Struct, kw_only=True, frozen=True):
    """An adapter that the worker should have, as the operator's row describes it."""

    name: str
    parent: str
    """The served model that it goes on top of."""
    source: str
    """A folder, or a name on the model hub, as the worker's machine sees it."""


class HeartbeatAnswer(Struct, kw_only=True, frozen=True):
    """What the operator wishes of the worker."""

    drain: bool = False
    """Finish what is in flight and take no more; the worker stays registered."""
    stop: bool = False
    """Drain, then end the process."""
    rotate_key: bool = False
    """Give the engine a new key and join again with it; the old one may end later."""
    send_log: bool = False
    """Send the last lines of the log with each heartbeat, the next one at once."""
    adapters: list[AdapterWish] | None = None
    """All that the worker should have; what it was told of before and is not in here is
    to be unloaded. None: nothing is wished either way."""


class CheckRequest(Struct, kw_only=True, frozen=True):
    """What `workers.check` wants to know before a worker joins; it spends nothing."""

    protocol: int = PROTOCOL_VERSION
    address: Annotated[str, Meta(max_length=500)] = ""
    """The worker's, as for a join; empty: look at the join token alone."""
    base_path: Annotated[str, Meta(max_length=200)] = "/v1"
    shares_address: bool = False
    engine_key: Annotated[str, Meta(max_length=500)] = ""
    """Empty: what the key would open is not looked at."""
    state: WorkerState | None = None
    """Of an agent whose engine is not ready yet: how far it is. Kept with the token,
    for the operator who waits for the worker."""
    loading_progress: Fraction | None = None


class CheckStep(Struct, kw_only=True, frozen=True):
    """One thing that a join would fail or pass by, as the controller sees it."""

    name: str
    is_well: bool
    message: str
    code: str = ""
    """One of `RefusalCode` where it is not well."""


class CheckAnswer(Struct, kw_only=True, frozen=True):
    """The steps in their order; the first that is not well is the last."""

    steps: list[CheckStep]
    protocol: int = PROTOCOL_VERSION


class RefusalReason(Struct, kw_only=True, frozen=True):
    message: str
    code: str
    type: str = "worker_refused"


class Refusal(Struct, kw_only=True, frozen=True):
    """The body of every 4xx of the controller's REST contract."""

    error: RefusalReason


# Paths on which an engine would spend tokens or give away text. The challenge asks
# each of them without the key, and the engine guard closes all of them (it closes
# everything but `/health`).
INFERENCE_PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/rerank",
    "/v1/score",
    "/invocations",
    "/pooling",
    "/classify",
    "/score",
    "/rerank",
    "/tokenize",
    "/detokenize",
    "/inference/v1/generate",
)
