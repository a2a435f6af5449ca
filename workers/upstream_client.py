"""What api_worker asks of a foreign upstream: its models, its limits, its health.

Every server that speaks OpenAI's API lists its models; what else it tells, and where,
differs. What it does not tell is said to be unknown, never guessed.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from workers.call_failures import why_unanswered
from workers.metrics_scrape import EngineNumbers
from workers.upstream_numbers import parse_upstream_numbers

CALL_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=5)
MAX_ANSWER_BYTES = 8 * 2**20

# Fields of a model in the list: vLLM and SGLang, OpenRouter and others, Groq, Mistral.
LISTED_LENGTHS = (
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
)
NUM_CTX = re.compile(r"^num_ctx\s+(\d+)", re.MULTILINE)


class UpstreamSilent(Exception):
    """The upstream gave no answer, or none that makes sense; the message says which."""


class KeyRefused(UpstreamSilent):
    """The upstream answers, but not to this key."""


@dataclass(frozen=True)
class ListedModel:
    """A model in the upstream's list; `fields` are all that it says of it."""

    id: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UpstreamClient:
    """Calls to the upstream at `address`, its API below `base_path`."""

    session: aiohttp.ClientSession
    address: str
    base_path: str
    key: str
    extra_headers: dict[str, str]

    @property
    def root(self) -> str:
        """Where the engine's own pages lie, beside the API."""
        return self.address + self.base_path.removesuffix("/v1")

    async def models(self) -> list[ListedModel]:
        """Return what the upstream lists; raises `UpstreamSilent` and `KeyRefused`."""
        answer = await self._json("GET", f"{self.address}{self.base_path}/models")
        # Some hosted servers answer with the bare list.
        listed = answer.get("data") if isinstance(answer, dict) else answer
        if not isinstance(listed, list):
            raise UpstreamSilent(
                f"{self.base_path}/models holds no list of models; is this an address"
                " of an OpenAI-compatible API?"
            )
        return [
            ListedModel(str(each["id"]), each)
            for each in listed
            if isinstance(each, dict) and each.get("id")
        ]

    async def numbers(self) -> tuple[str, EngineNumbers] | None:
        """Return the engine's name and numbers; None if it has no page of them."""
        try:
            page = await self._call("GET", f"{self.root}/metrics")
            return parse_upstream_numbers(page.decode())
        except (UpstreamSilent, ValueError):
            return None

    async def has_health_page(self) -> bool:
        try:
            await self._call("GET", f"{self.root}/health")
        except UpstreamSilent:
            return False
        return True

    async def version(self) -> str:
        """Return the engine's version; empty where it does not tell."""
        for path in ("/version", "/api/version"):
            answer = await self._optional("GET", path)
            if isinstance(answer, dict) and isinstance(answer.get("version"), str):
                return str(answer["version"])[:50]
        return ""

    async def context_length(self, model: ListedModel) -> int:
        """Return how many tokens fit the model, prompt and completion; 0: unknown.

        Asked in the order of trust: the list itself, then what the running server was
        given. What a model was trained with is not asked: servers cut off at less.
        """
        for name in LISTED_LENGTHS:
            if length := _positive(model.fields.get(name)):
                return length
        return (
            await self._llama_cpp_length()
            or await self._tgi_length()
            or await self._lm_studio_length(model.id)
            or await self._ollama_length(model.id)
        )

    async def _llama_cpp_length(self) -> int:
        props = await self._optional("GET", "/props")
        return _positive(_at(props, "default_generation_settings", "n_ctx"))

    async def _tgi_length(self) -> int:
        return _positive(_at(await self._optional("GET", "/info"), "max_total_tokens"))

    async def _lm_studio_length(self, name: str) -> int:
        listed = _at(await self._optional("GET", "/api/v0/models"), "data")
        for each in listed if isinstance(listed, list) else []:
            if _at(each, "id") == name:
                return _positive(_at(each, "loaded_context_length"))
        return 0

    async def _ollama_length(self, name: str) -> int:
        """Return what the model's file says, or what it is loaded with now.

        Ollama cuts off silently at a default that depends on the GPU's memory.
        """
        shown = await self._optional("POST", "/api/show", {"model": name})
        parameters = _at(shown, "parameters")
        if isinstance(parameters, str) and (found := NUM_CTX.search(parameters)):
            return int(found.group(1))
        running = _at(await self._optional("GET", "/api/ps"), "models")
        for each in running if isinstance(running, list) else []:
            if name in (_at(each, "name"), _at(each, "model")):
                return _positive(_at(each, "context_length"))
        return 0

    async def _optional(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON at a path that not every server has; None without one."""
        try:
            return await self._json(method, self.root + path, body)
        except UpstreamSilent:
            return None

    async def _json(self, method: str, url: str, body: object = None) -> Any:
        try:
            return msgspec.json.decode(await self._call(method, url, body))
        except msgspec.DecodeError as error:
            raise UpstreamSilent(f"its answer cannot be read: {error}") from error

    async def _call(self, method: str, url: str, body: object = None) -> bytes:
        headers = dict(self.extra_headers)
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            async with self.session.request(
                method,
                url,
                json=body,
                headers=headers,
                timeout=CALL_TIMEOUT,
                allow_redirects=False,  # a redirect would be handed our key
            ) as response:
                answer = await _bounded(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamSilent(why_unanswered(error)) from error
        path = response.url.path
        if response.status in (401, 403):
            raise KeyRefused(f"it refuses the key ({path}: status {response.status})")
        if response.status != 200:
            raise UpstreamSilent(f"{path} answered with status {response.status}")
        return answer


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for piece in response.content.iter_any():
        answer += piece
        if len(answer) > MAX_ANSWER_BYTES:
            raise UpstreamSilent(f"it answered with over {MAX_ANSWER_BYTES} bytes")
    return bytes(answer)


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _positive(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
