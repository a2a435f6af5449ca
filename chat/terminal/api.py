"""The API as the chat uses it: the list of models, and answers as they are written."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct

from chat.terminal.chunks import Chunk, ChunkReader, error_message
from chat.terminal.errors import BadSetting, Refused, ServerAway
from chat.terminal.places import BASE_VARIABLE, KEY_VARIABLE, Place

CHAT_PATH = "/chat/completions"
CONNECT_SECONDS = 10.0
LONGEST_ERROR = 500


class Model(Struct):
    id: str
    tasks: list[str] | None = None
    """None: the server does not say, and it is taken to chat."""

    @property
    def can_chat(self) -> bool:
        return self.tasks is None or "chat" in self.tasks


class _Models(Struct):
    data: list[Model]


class Api:
    """One connection to the place; `close` it, or use it in a `with`."""

    def __init__(self, place: Place, timeout: float) -> None:
        self.place = place
        with explained(place):
            self._client = httpx.Client(
                headers=place.headers, timeout=timeout_of(timeout)
            )

    def close(self) -> None:
        self._client.close()

    def models(self) -> list[Model]:
        """What is served now, as the server orders it."""
        with explained(self.place):
            response = self._client.get(self.place.base + "/models")
        check_status(self.place, response)
        try:
            listed = msgspec.json.decode(response.content, type=_Models)
        except msgspec.MsgspecError as exc:
            raise Refused(
                f"{response.url} answers with what is no list of models: give"
                " --api-base the API's address, which mostly ends in /v1."
            ) from exc
        return listed.data

    def serves(self, name: str) -> bool:
        """Whether the model is listed, or is known by this name though not listed."""
        if any(each.id == name for each in self.models()):
            return True
        with explained(self.place):
            path = f"{self.place.base}/models/{quote(name)}"
            return self._client.get(path).status_code == httpx.codes.OK

    @contextmanager
    def answer(self, request: dict[str, Any]) -> Iterator[Iterator[Chunk]]:
        """The chunks of an answer. Leaving early closes the stream, which ends the
        engine's work. Raises `TerminalError`, in the context too."""
        url = self.place.base + CHAT_PATH
        body = streamed(request)
        with explained(self.place), self._client.stream("POST", url, json=body) as got:
            if not got.is_success:
                got.read()
            check_status(self.place, got)
            yield self._chunks(got)

    def _chunks(self, response: httpx.Response) -> Iterator[Chunk]:
        reader = ChunkReader()
        for line in response.iter_lines():
            if chunk := reader.chunk(line):
                yield chunk
        reader.check_end()


def streamed(request: dict[str, Any]) -> dict[str, Any]:
    """The request for a stream that tells its usage at the end."""
    return request | {"stream": True, "stream_options": {"include_usage": True}}


def timeout_of(seconds: float) -> httpx.Timeout:
    """So many seconds of silence; what is not there is known sooner."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """httpx's errors as ours."""
    try:
        yield
    except httpx.ConnectError as exc:
        raise ServerAway(
            f"Nothing can be reached at {place.base} ({exc}): start the server, or"
            f" name another with --api-base or {BASE_VARIABLE}."
        ) from exc
    except httpx.TimeoutException as exc:
        raise ServerAway(
            f"{place.base} did not answer in time: ask again, or wait longer with"
            " --timeout."
        ) from exc
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ssl.SSLError) as exc:
        raise BadSetting(f"{place.base} cannot be used: {exc}") from exc
    except httpx.TransportError as exc:
        raise ServerAway(f"The connection to {place.base} broke off: {exc}") from exc


def check_status(place: Place, response: httpx.Response) -> None:
    """Raise `Refused` for all but success; the body must have been read by then."""
    if response.is_success:
        return
    if response.is_redirect:
        target = response.headers.get("Location", "elsewhere")
        raise Refused(f"{response.url} is now {target}: give that to --api-base.")
    words = f"{response.status_code}: {_words(response)}"
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise Refused(f"{words} {_key_repair(place)}")
    if after := response.headers.get("Retry-After"):
        words += f" Ask again in {after} s."
    raise Refused(words)


def _words(response: httpx.Response) -> str:
    try:
        return error_message(msgspec.json.decode(response.content)["error"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        text = " ".join(response.text.split()) or response.reason_phrase
        return f"{response.url} answers {text[:LONGEST_ERROR]}"


def _key_repair(place: Place) -> str:
    if place.key:
        return f"The key was read from {place.key_source}: put a valid one there."
    return f"No key was found: set {KEY_VARIABLE}, or name a file with --api-key-file."
