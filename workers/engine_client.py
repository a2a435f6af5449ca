"""What the agent asks of its own engine, over HTTP on this machine."""

import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import msgspec

from workers.metrics_scrape import EngineNumbers, parse_engine_numbers
from workers.protocol import Task

CALL_TIMEOUT = aiohttp.ClientTimeout(total=5)
# The first token on a cold GPU can wait for kernels to be compiled.
PROBE_TIMEOUT = aiohttp.ClientTimeout(total=300)
LOAD_TIMEOUT = aiohttp.ClientTimeout(total=300)
# The least that shows a task done: which path, and what to send besides the model.
TRIALS: dict[Task, tuple[str, dict[str, object]]] = {
    Task.CHAT: (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1},
    ),
    Task.COMPLETIONS: ("/v1/completions", {"prompt": "Hello", "max_tokens": 1}),
    Task.EMBEDDINGS: ("/v1/embeddings", {"input": "Hello"}),
    Task.SCORE: ("/score", {"text_1": "Hello", "text_2": "Hello"}),
    Task.RERANK: ("/rerank", {"query": "Hello", "documents": ["Hello"]}),
    Task.TOKENIZE: ("/tokenize", {"prompt": "Hello"}),
}
# No such path, or not for this model: no chat template, say.
NOT_DONE = frozenset({400, 404, 405, 422, 501})


Shape = TypeVar("Shape", bound=msgspec.Struct)


class EngineSilent(Exception):
    """The engine gave no answer, or none that makes sense; the message says which.

    `status` is the HTTP status of an answer that was not 200, `reason` what it said.
    """

    def __init__(
        self, message: str, status: int | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class ServedModel(msgspec.Struct, frozen=True):
    id: str
    max_model_len: int | None = None
    """None for an adapter of vLLM: it has its parent's."""
    parent: str | None = None
    """The base's name, for an adapter."""


class ModelList(msgspec.Struct, frozen=True):
    data: list[ServedModel]


class Fault(msgspec.Struct, frozen=True):
    message: str = ""


class Failure(msgspec.Struct, frozen=True):
    """The body of an answer that is an error, as OpenAI and vLLM have it."""

    error: Fault


class Version(msgspec.Struct, frozen=True):
    version: str = ""


@dataclass
class EngineClient:
    """Calls to the engine at `url` with its key; raises `EngineSilent`."""

    session: aiohttp.ClientSession
    url: str
    key: str
    trust: ssl.SSLContext | None = None
    """Of an engine that speaks TLS."""

    async def is_healthy(self, timeout: aiohttp.ClientTimeout = CALL_TIMEOUT) -> bool:
        try:
            await self._call("GET", "/health", timeout=timeout)
        except EngineSilent:
            return False
        return True

    async def models(self) -> list[ServedModel]:
        """Return what the engine serves now: its model, by each name, and adapters."""
        return _decoded(await self._call("GET", "/v1/models"), ModelList).data

    async def context_length(self, name: str) -> int:
        """Return how many tokens fit the model `name`, prompt and completion."""
        models = await self.models()
        for model in models:
            if model.id == name and model.max_model_len is not None:
                return model.max_model_len
        served = ", ".join(model.id for model in models) or "nothing"
        raise EngineSilent(f"it serves {served}, not {name}")

    async def load_adapter(self, name: str, folder: str) -> None:
        """Have vLLM serve the adapter in `folder`; an error's `reason` says why not."""
        body: dict[str, object] = {"lora_name": name, "lora_path": folder}
        await self._call("POST", "/v1/load_lora_adapter", body, LOAD_TIMEOUT)

    async def unload_adapter(self, name: str) -> None:
        """Have vLLM take no more requests for the adapter; those it has go on.

        One that it does not have is no error.
        """
        try:
            await self._call("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        except EngineSilent as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def version(self) -> str:
        return _decoded(await self._call("GET", "/version"), Version).version

    async def tasks(self, name: str) -> list[Task]:
        """Return what the engine does with the model `name`, by having it done once.

        That also proves that it can work: loaded is not the same as able.
        """
        done = [task for task in TRIALS if await self.does(task, name)]
        if set(done) <= {Task.TOKENIZE}:
            raise EngineSilent(f"it does nothing with {name} that can be offered")
        return done

    async def does(
        self,
        task: Task,
        name: str,
        timeout: aiohttp.ClientTimeout = PROBE_TIMEOUT,
    ) -> bool:
        """Return whether the engine does `task`, by the least that shows it done."""
        path, fields = TRIALS[task]
        try:
            await self._call("POST", path, {"model": name, **fields}, timeout)
        except EngineSilent as error:
            if error.status in NOT_DONE:
                return False
            raise
        return True

    async def numbers(self) -> EngineNumbers:
        page = await self._call("GET", "/metrics")
        try:
            return parse_engine_numbers(page.decode())
        except ValueError as error:
            raise EngineSilent(f"its metrics cannot be read: {error}") from error

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, object] | None = None,
        timeout: aiohttp.ClientTimeout = CALL_TIMEOUT,
    ) -> bytes:
        try:
            async with self.session.request(
                method,
                self.url + path,
                json=body,
                headers={"Authorization": f"Bearer {self.key}"},
                timeout=timeout,
                ssl=self.trust or True,
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineSilent(str(error) or type(error).__name__) from error
        if response.status != 200:
            raise EngineSilent(
                f"{path} answered with status {response.status}",
                response.status,
                _reason(answer),
            )
        return answer


def _reason(answer: bytes) -> str:
    """Return the first line of what an error's body says; empty if it says nothing."""
    try:
        message = msgspec.json.decode(answer, type=Failure).error.message
    except msgspec.DecodeError:
        return ""
    return message.strip().partition("\n")[0]


def _decoded(answer: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(answer, type=shape)
    except msgspec.DecodeError as error:
        raise EngineSilent(f"its answer cannot be read: {error}") from error
