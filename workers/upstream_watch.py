"""Watches a foreign upstream, as the supervisor watches an engine of our own.

Nobody here starts or stops it. A new "run" begins whenever what the controller was told
may be true no longer: the upstream came back, was restarted, lists other models, moved
to another address, or its key file holds another key. The registration then joins anew.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import msgspec

from workers.backoff import Backoff
from workers.endpoints import Endpoint, EndpointModel, address_for, split_upstream
from workers.errors import BadSetting
from workers.metrics_scrape import EngineNumbers
from workers.protocol import (
    Capacity,
    JoinRequest,
    ModelName,
    ModelOffer,
    WorkerState,
)
from workers.upstream_client import (
    KeyRefused,
    ListedModel,
    UpstreamClient,
    UpstreamSilent,
)

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
# What costs the upstream more, or changes rarely: its list of models, its address.
SLOW_POLL_SECONDS = 60.0
MAX_MISSES = 2
MAX_MODELS = 256
GENERIC_ENGINE = "openai-compatible"


@dataclass(frozen=True, kw_only=True)
class UpstreamRun:
    """What the upstream was found to be, until something of it changes."""

    start_id: str
    engine: str
    version: str
    key: str
    models: Sequence[ModelOffer]
    listed: frozenset[str]
    addresses: frozenset[str]


class UpstreamWatch:
    """Watches while `run` is awaited; `current` is None while it cannot be used."""

    def __init__(
        self,
        endpoint: Endpoint,
        session: aiohttp.ClientSession,
        poll_seconds: float = POLL_SECONDS,
        slow_poll_seconds: float = SLOW_POLL_SECONDS,
        read_key: Callable[[], str] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._read_key = read_key or endpoint.read_key
        self.address, self.base_path = split_upstream(endpoint.upstream)
        self.current: UpstreamRun | None = None
        self.state = WorkerState.LOADING
        self.num_restarts = 0
        self._session = session
        self._poll_seconds = poll_seconds
        self._slow_poll_seconds = slow_poll_seconds
        self._numbers = EngineNumbers()
        self._has_health_page = False
        self._changed = asyncio.Event()
        self._last_trouble = ""
        self._notices: set[str] = set()

    async def run(self) -> None:
        """Look at the upstream, again and again, until cancelled."""
        backoff = Backoff(first=1.0, longest=30.0)
        while True:
            try:
                self._begin(await self._look())
            except (UpstreamSilent, BadSetting) as trouble:
                self._say_trouble(trouble)
                await asyncio.sleep(backoff.next_pause())
                continue
            except Exception:
                # An answer such as nobody foresaw. The other endpoints go on.
                logger.exception("%s: looking again.", self._where)
                await asyncio.sleep(backoff.next_pause())
                continue
            backoff.reset()
            try:
                self._say_trouble(await self._watch())
            finally:
                self._end()

    async def ready(self) -> UpstreamRun:
        """Return the present run, waiting until there is one."""
        while self.current is None:
            await self._changed.wait()
        return self.current

    async def numbers(self) -> EngineNumbers:
        """Return the last numbers; zeros for an upstream that reports none."""
        return self._numbers

    def join_request(self, controller: str, run: UpstreamRun) -> JoinRequest:
        """Return what the controller is told of the upstream; or `BadAddress`."""
        endpoint = self.endpoint
        return JoinRequest(
            address=address_for(controller, endpoint),
            base_path=self.base_path,
            shares_address=True,
            engine=run.engine,
            engine_version=run.version,
            start_id=run.start_id,
            models=list(run.models),
            capacity=Capacity(
                max_concurrency=endpoint.max_concurrency,
                kv_cache_tokens=self._numbers.kv_cache_tokens,
            ),
            weight=endpoint.weight,
            labels=endpoint.labels,
            engine_key=run.key,
            exclusive=endpoint.exclusive,
            can_continue=endpoint.can_continue,
            extra_body=endpoint.extra_body,
            extra_headers=endpoint.extra_headers,
        )

    # One run

    async def _look(self) -> UpstreamRun:
        """Return the upstream as it is now; raises `UpstreamSilent`, `BadSetting`."""
        client = self._client(self._read_key())
        listed = await client.models()
        models = await self._offers(client, listed)
        reported = await client.numbers()
        self._numbers = reported[1] if reported else EngineNumbers()
        self._has_health_page = not reported and await client.has_health_page()
        return UpstreamRun(
            start_id=secrets.token_hex(16),
            engine=reported[0] if reported else GENERIC_ENGINE,
            version=await client.version(),
            key=client.key,
            models=models,
            listed=frozenset(model.id for model in listed),
            addresses=await self._resolve(),
        )

    async def _watch(self) -> UpstreamSilent:
        """Return why the run is over, as soon as it is."""
        run, misses, since_slow = self.current, 0, 0.0
        assert run is not None
        client = self._client(run.key)
        while True:
            await asyncio.sleep(self._poll_seconds)
            since_slow += self._poll_seconds
            is_slow_turn = since_slow >= self._slow_poll_seconds
            try:
                self._look_at_key(run)
                await self._poll(client)
                if is_slow_turn:
                    await self._poll_slowly(client, run)
                    # Not before: what failed is asked again at the next turn, and of an
                    # upstream that has nothing but its list, that tells if it is away.
                    since_slow = 0.0
            except _Changed as change:
                return change
            except UpstreamSilent as trouble:
                misses += 1
                if misses >= MAX_MISSES:
                    return trouble
            else:
                misses = 0

    async def _poll(self, client: UpstreamClient) -> None:
        """Ask by the cheapest means that the upstream has; raise if it is silent."""
        if self.current is not None and self.current.engine != GENERIC_ENGINE:
            reported = await client.numbers()
            if reported is None:
                raise UpstreamSilent("its /metrics does not answer")
            if _went_back(self._numbers, reported[1]):
                self.num_restarts += 1
                raise _Changed("it was restarted")
            self._numbers = reported[1]
        elif self._has_health_page and not await client.has_health_page():
            raise UpstreamSilent("its /health does not answer")

    def _look_at_key(self, run: UpstreamRun) -> None:
        with contextlib.suppress(BadSetting):  # a file in the middle of being replaced
            if self._read_key() != run.key:
                raise _Changed("its key file holds another key")

    async def _poll_slowly(self, client: UpstreamClient, run: UpstreamRun) -> None:
        """Raise if what the controller was told is true no longer."""
        listed = frozenset(model.id for model in await client.models())
        missing = {offer.upstream_model or offer.name for offer in run.models} - listed
        if missing or (not self.endpoint.models and listed != run.listed):
            raise _Changed("it lists other models")
        addresses = await self._resolve()
        if addresses and run.addresses and not addresses & run.addresses:
            raise _Changed("its name resolves to other addresses")

    def _begin(self, run: UpstreamRun) -> None:
        self.current = run
        self.state = WorkerState.READY
        self._last_trouble = ""
        self._changed.set()
        names = ", ".join(offer.name for offer in run.models)
        logger.info("%s serves %s.", self._where, names)

    def _end(self) -> None:
        self.current = None
        self.state = WorkerState.FAILED
        self._changed.clear()

    # Its parts

    def _client(self, key: str) -> UpstreamClient:
        return UpstreamClient(
            self._session,
            self.address,
            self.base_path,
            key,
            self.endpoint.extra_headers,
        )

    async def _offers(
        self, client: UpstreamClient, listed: Sequence[ListedModel]
    ) -> list[ModelOffer]:
        known = {model.id: model for model in listed}
        wanted = self.endpoint.models or self._all_of(known)
        offers = []
        for model in wanted:
            upstream_model = _found(model, known)
            length = (
                model.context_length
                or await client.context_length(known[upstream_model])
                or self.endpoint.context_length
            )
            if not length:
                self._notice(
                    f"{self.address} does not say how long {upstream_model}'s context"
                    " is; give --context-length (context_length in a file) to show it."
                )
            offers.append(
                ModelOffer(
                    name=model.name,
                    upstream_model=(
                        upstream_model if upstream_model != model.name else None
                    ),
                    tasks=list(self.endpoint.tasks),
                    modalities=list(self.endpoint.modalities),
                    context_length=length,
                )
            )
        return offers

    def _all_of(self, known: Mapping[str, ListedModel]) -> list[EndpointModel]:
        models = []
        for name in known:
            try:
                models.append(EndpointModel(name=msgspec.convert(name, ModelName)))
            except msgspec.ValidationError:
                self._notice(
                    f"{name!r} cannot be a model's name here; serve it by"
                    f" --model-names NAME={name}."
                )
        if not models:
            raise UpstreamSilent("it lists no model that can be served under its name")
        if len(models) > MAX_MODELS:
            raise UpstreamSilent(
                f"it lists {len(models)} models, and one worker serves at most"
                f" {MAX_MODELS}; choose with --model-names"
            )
        return models

    async def _resolve(self) -> frozenset[str]:
        """Return the addresses of the upstream's name; none if it does not resolve."""
        parts = urlsplit(self.address)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(parts.hostname, parts.port or 443)
        except OSError:
            return frozenset()
        return frozenset(str(info[4][0]) for info in found)

    # What is said of it

    @property
    def _where(self) -> str:
        """The upstream as the log calls it: by its address, and its name in a file."""
        name, url = self.endpoint.name, self.address + self.base_path
        return name if url in name else f"{name} ({url})"

    def _say_trouble(self, trouble: Exception) -> None:
        """Log a trouble when it is new, not at each of a thousand tries."""
        if isinstance(trouble, _Changed):
            logger.info("%s: %s; looking again.", self._where, trouble)
            return
        repair = " Check the key file." if isinstance(trouble, KeyRefused) else ""
        text = f"Waiting for {self._where}: {trouble}.{repair}"
        if text != self._last_trouble:
            self._last_trouble = text
            logger.warning(text)

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.add(text)
            logger.warning("%s: %s", self._where, text)


class _Changed(UpstreamSilent):
    """The upstream is well, but another one than the controller was told of."""


def _found(model: EndpointModel, known: Mapping[str, ListedModel]) -> str:
    """Return the upstream's name for the model; raises `UpstreamSilent` without one."""
    if model.asked_for_as in known:
        return model.asked_for_as
    if not model.upstream_model and len(known) == 1:
        return next(iter(known))  # llama.cpp's only model is called after its file
    served = ", ".join(sorted(known)[:20]) or "nothing"
    raise UpstreamSilent(f"it serves {served}, not {model.asked_for_as}")


def _went_back(before: EngineNumbers, now: EngineNumbers) -> bool:
    """Tell if a lifetime counter began anew: the engine was restarted."""
    pairs = (
        (before.prompt_tokens_total, now.prompt_tokens_total),
        (before.generation_tokens_total, now.generation_tokens_total),
    )
    return any(was is not None and (now_ or 0) < was for was, now_ in pairs)
