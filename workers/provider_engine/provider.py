"""The provider as this engine asks it, with the key as it reads by now."""

import contextlib
import importlib
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from any_llm import AnyLLM
from any_llm.exceptions import AnyLLMError
from any_llm.types.completion import ChatCompletion, ChatCompletionChunk
from any_llm.types.model import Model
from pydantic import ValidationError

from workers.errors import BadSetting
from workers.key_files import read_key
from workers.provider_engine.failures import misfit, refusal_of
from workers.upstream_api import UpstreamApi

# The agent asks anew each minute, and the controller asks as it lets us join.
LIST_SECONDS = 30.0
# Of one whole answer. The gateway's patience is shorter, and its to set.
TIMEOUT_SECONDS = 3600.0


class UpstreamKey:
    """The provider's key: given once, or a file's content, read when it changes."""

    def __init__(self, key: str, file: Path | None) -> None:
        self._key = key
        self._file = file
        self._read_at: tuple[int, int] | None = None
        if not self.read():
            raise BadSetting(f"The upstream's key file {file} cannot be read.")

    def read(self) -> str:
        """Return the key; the last one while its file is away or empty."""
        if self._file is not None:
            # In the middle of being replaced, it may hold anything.
            with contextlib.suppress(OSError, BadSetting):
                self._read_if_changed(self._file)
        return self._key

    def _read_if_changed(self, file: Path) -> None:
        status = os.stat(file)
        read_at = status.st_mtime_ns, status.st_ino
        if read_at != self._read_at:
            self._key = read_key(file, "The upstream's key file")
            self._read_at = read_at


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the provider is, and what every call brings along."""

    api: UpstreamApi
    address: str
    version: str = ""
    """Of the API, as its path names it; empty: the client's own."""
    headers: Mapping[str, str]


class Provider:
    """Calls to one provider. Failures are raised as `RequestRefused`."""

    def __init__(self, where: Where, key: UpstreamKey) -> None:
        self.api = where.api
        self._where = where
        self._key = key
        # Each loads a client of some 50 MB, of which one is needed.
        module = f"workers.provider_engine.{where.api}"
        self._connect = importlib.import_module(module).connect
        self._client_of_key: tuple[str, AnyLLM] | None = None
        self._listed: list[Model] = []
        self._listed_at = 0.0

    async def models(self) -> list[Model]:
        """Return the provider's list, at most half a minute old."""
        client = self._client()
        if not self._listed or time.monotonic() - self._listed_at > LIST_SECONDS:
            try:
                self._listed = list(await client.alist_models())
            except AnyLLMError as error:
                raise refusal_of(error) from error
            self._listed_at = time.monotonic()
        return self._listed

    async def answer(self, arguments: Mapping[str, Any]) -> ChatCompletion:
        try:
            answer: ChatCompletion = await self._client().acompletion(
                **arguments, stream=False, timeout=TIMEOUT_SECONDS
            )
        except AnyLLMError as error:
            raise refusal_of(error) from error
        except ValidationError as error:
            raise misfit(error) from None
        return answer

    async def chunks(
        self, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Yield an answer as it comes; closing this ends the provider's work."""
        try:
            stream = await self._client().acompletion(
                **arguments, stream=True, timeout=TIMEOUT_SECONDS
            )
            async with aclosing(stream):
                async for chunk in stream:
                    yield chunk
        except AnyLLMError as error:
            raise refusal_of(error) from error
        except ValidationError as error:
            raise misfit(error) from None

    def _client(self) -> AnyLLM:
        """Return a client with the present key; one in use keeps the former."""
        key = self._key.read()
        if self._client_of_key is None or self._client_of_key[0] != key:
            where = self._where
            client = self._connect(where.address, where.version, key, where.headers)
            self._client_of_key = key, client
            self._listed = []
        return self._client_of_key[1]
