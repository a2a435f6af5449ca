"""Is there, at the claimed address, the engine that the worker claims, and is it shut?

A worker that joins names an address of its choice. Without this challenge it could
make the gateway send users' prompts to a stranger's service, or publish an engine that
answers anybody (CVE-2024-10044 is that hole in the system that this one succeeds).
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
import msgspec
from django.conf import settings
from multidict import CIMultiDict
from yarl import URL

from controller.fleet.addresses import ResolvedAddress, path_on_engine
from controller.fleet.errors import WorkerRefused
from workers.protocol import INFERENCE_PATHS, RefusalCode

MODELS_PATH = "/v1/models"
# What a shut door says; the last two where there is no such door.
REFUSALS = frozenset({401, 403, 404, 405})
# A gateway in front of an engine that is away: whether it is shut cannot be told.
AWAY = frozenset({502, 503, 504})
MAX_CONNECTIONS = 8
MAX_LISTING_BYTES = 4 * 2**20  # the longest public listing is about a tenth of it


class _ListedModel(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    """What OpenAI's API answers; some hosted servers leave out all but the list."""

    data: list[_ListedModel]


async def challenge(
    resolved: ResolvedAddress,
    *,
    base_path: str,
    engine_key: str,
    names: Sequence[str],
    extra_headers: Mapping[str, str],
    keyless: bool,
    lists_openly: bool,
    timeout: float,
) -> None:
    """Return if the engine is what it should be; `timeout` (seconds) is for all of it.

    Without the key every inference path and the list of models must refuse (skipped
    for a `keyless` engine); with it, the list must hold all of `names`. One that
    `lists_openly`, as llama.cpp and some providers do, may show its list to anybody;
    the key is then tried at another door. Raises `WorkerRefused` with one of the
    `engine_` codes, which tells the kind of failure and never a byte of what was
    answered.
    """
    async with engine_at(resolved, base_path, timeout) as engine:
        if not keyless:
            await engine.expect_shut(lists_openly=lists_openly)
        await engine.expect_models(names, engine_key, extra_headers)
        if lists_openly and engine_key:
            await engine.expect_key_taken(engine_key, extra_headers)


@asynccontextmanager
async def engine_at(
    resolved: ResolvedAddress, base_path: str, timeout: float
) -> AsyncIterator["Engine"]:
    """The engine to be challenged; what is done with it may take `timeout` seconds.

    Raises `WorkerRefused` when that is over.
    """
    try:
        async with (
            asyncio.timeout(timeout),
            Engine.reached(resolved, base_path) as engine,
        ):
            yield engine
    except TimeoutError as exc:
        raise WorkerRefused(
            RefusalCode.ENGINE_UNREACHABLE,
            f"The engine at {resolved.url} did not answer the controller's challenge"
            f" within {timeout:g} s.",
        ) from exc


class Engine:
    """Calls to the claimed address, and what each status means."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        resolved: ResolvedAddress,
        base_path: str,
    ) -> None:
        self._session = session
        self._resolved = resolved
        self._base_path = base_path

    @classmethod
    @asynccontextmanager
    async def reached(
        cls, resolved: ResolvedAddress, base_path: str
    ) -> AsyncIterator["Engine"]:
        """An engine with a session of its own: no cookie or proxy comes into it."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=_trust(resolved)),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            # A compressed answer could grow without bound.
            auto_decompress=False,
            headers={"Host": resolved.host_header, "Accept-Encoding": "identity"},
        ) as session:
            yield cls(session, resolved, base_path)

    async def expect_an_answer(self) -> None:
        """Raise unless something there speaks HTTP, whatever it says."""
        await self._call("GET", MODELS_PATH)

    async def expect_shut(self, *, lists_openly: bool = False) -> None:
        """Raise unless every inference path and the list of models refuse."""
        calls = [("POST", path) for path in INFERENCE_PATHS]
        if not lists_openly:
            calls.append(("GET", MODELS_PATH))
        async with asyncio.TaskGroup() as group:
            checks = [group.create_task(self._openness(*call)) for call in calls]
        for check in checks:
            if refusal := check.result():
                raise refusal

    async def expect_models(
        self, names: Sequence[str], key: str, extra_headers: Mapping[str, str]
    ) -> None:
        """Raise unless the list that the key opens holds all of `names`."""
        headers = _with_key(extra_headers, key)
        status, body = await self._call("GET", MODELS_PATH, headers)
        self._expect_key_taken(status)
        if refusal := self._redirect_or_absence(MODELS_PATH, status):
            raise refusal
        if status != HTTPStatus.OK:
            raise self._refusal(
                RefusalCode.ENGINE_SERVES_OTHER,
                f"answers GET {MODELS_PATH} with status {status}, so it is not known"
                " what it serves",
            )
        missing = sorted(set(names) - self._listed(body))
        if missing:
            raise self._refusal(
                RefusalCode.ENGINE_SERVES_OTHER,
                f"does not list {', '.join(map(repr, missing))}",
            )

    async def expect_key_taken(
        self, key: str, extra_headers: Mapping[str, str]
    ) -> None:
        """Raise if an inference path refuses the key; an empty request costs nothing,
        and is complained of only behind the door."""
        headers = _with_key(extra_headers, key)
        status, _ = await self._call("POST", INFERENCE_PATHS[0], headers)
        self._expect_key_taken(status)

    def _expect_key_taken(self, status: int) -> None:
        if status in (401, 403):
            raise self._refusal(
                RefusalCode.ENGINE_REFUSES_KEY, "refuses the key that the worker gave"
            )

    async def _openness(self, method: str, path: str) -> WorkerRefused | None:
        """Why this path is no shut door; None if it is one."""
        try:
            status, _ = await self._call(method, path)
        except WorkerRefused as refusal:
            return refusal
        if status in REFUSALS:
            return None
        return self._redirect_or_absence(path, status) or self._refusal(
            RefusalCode.ENGINE_OPEN,
            f"answers {method} {path} without the key (status {status} instead of 401)",
        )

    def _redirect_or_absence(self, path: str, status: int) -> WorkerRefused | None:
        if 300 <= status < 400:
            return self._refusal(
                RefusalCode.ENGINE_REDIRECTS,
                f"redirects {path} elsewhere (status {status})",
            )
        if status in AWAY:
            return self._refusal(
                RefusalCode.ENGINE_UNREACHABLE,
                f"is away behind a gateway that answers {path} with status {status}",
            )
        return None

    async def _call(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """(status, body); the body is read only for a 200 to a call with headers."""
        resolved = self._resolved
        path = path_on_engine(self._base_path, path)
        # The URL names the checked IP, so no resolver and no second address comes in.
        url = URL.build(
            scheme=resolved.scheme, host=resolved.ip, port=resolved.port, path=path
        )
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                json={} if method == "POST" else None,
                allow_redirects=False,
                server_hostname=resolved.host if resolved.scheme == "https" else None,
            ) as response:
                if headers is None or response.status != HTTPStatus.OK:
                    return response.status, b""
                return response.status, await self._bounded(response)
        except aiohttp.ClientSSLError as exc:
            problem = "offers no TLS with a certificate that the controller trusts"
            raise self._refusal(RefusalCode.ENGINE_UNREACHABLE, problem) from exc
        except aiohttp.ClientConnectorError as exc:
            reason = os.strerror(exc.errno) if exc.errno else "no connection"
            problem = f"cannot be reached by the controller ({reason})"
            raise self._refusal(RefusalCode.ENGINE_UNREACHABLE, problem) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            problem = f"does not answer {method} {path} in HTTP"
            raise self._refusal(RefusalCode.ENGINE_UNREACHABLE, problem) from exc

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > MAX_LISTING_BYTES:
                raise self._refusal(
                    RefusalCode.ENGINE_SERVES_OTHER,
                    f"answers GET {MODELS_PATH} with more than {MAX_LISTING_BYTES}"
                    " bytes",
                )
        return bytes(body)

    def _listed(self, body: bytes) -> set[str]:
        try:
            listing = msgspec.json.decode(body, type=_Listing | list[_ListedModel])
        except (msgspec.DecodeError, RecursionError) as exc:
            raise self._refusal(
                RefusalCode.ENGINE_SERVES_OTHER,
                f"answers GET {MODELS_PATH} with something else than a list of models",
            ) from exc
        listed = listing.data if isinstance(listing, _Listing) else listing
        return {model.id for model in listed}

    def _refusal(self, code: RefusalCode, problem: str) -> WorkerRefused:
        return WorkerRefused(code, f"The engine at {self._resolved.url} {problem}.")


def _with_key(extra_headers: Mapping[str, str], key: str) -> CIMultiDict[str]:
    headers = CIMultiDict(extra_headers)
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _trust(resolved: ResolvedAddress) -> ssl.SSLContext | bool:
    """The certificates that the relay will trust too; for plain HTTP it is not used."""
    if resolved.scheme != "https":
        return True
    return ssl.create_default_context(cafile=settings.UPSTREAM_CA_FILE or None)
