"""Endpoints: servers of the OpenAI API that run elsewhere, as api_worker is told them.

One is given by flags, many by a file of this shape, which `python manage.py
import_endpoints` writes::

    {"endpoints": [{"name": "openai", "upstream": "https://api.openai.com/v1",
                    "key": "sk-...", "models": [{"name": "gpt-4o"}]}]}
"""

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta, Struct, field

from workers.addresses import (
    MAX_PORT,
    bracketed,
    check_worker_address,
    is_loopback,
    local_address_towards,
    with_scheme,
)
from workers.errors import BadAddress, BadSetting
from workers.key_files import read_key
from workers.protocol import ModelName, NonNegativeInt, PositiveInt, Task, Weight
from workers.upstream_api import UpstreamApi, api_at

DEFAULT_BASE_PATH = "/v1"
DEFAULT_CONCURRENCY = 64
VERSION_SEGMENT = re.compile(r"v\d+[a-z0-9]*", re.ASCII)


class EndpointModel(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A model that an endpoint serves here."""

    name: ModelName
    upstream_model: str = ""
    """The upstream's own name for it; empty: the same."""
    context_length: NonNegativeInt = 0
    """In tokens; 0: as the upstream says."""

    @property
    def asked_for_as(self) -> str:
        return self.upstream_model or self.name


class Endpoint(
    Struct, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One upstream with one key, and what is served of it."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    """What its folder of state is called; two of one file must differ."""
    upstream: str
    """Its address, with or without `/v1`."""
    api: UpstreamApi | None = None
    """Which API it speaks; None: the one that its address tells."""
    port: Annotated[int, Meta(ge=0, le=MAX_PORT)] = 0
    """Of the engine that translates a foreign API; 0: the next free one."""
    worker_address: str = ""
    """How the controller reaches it, if not by the same address."""
    key: str = ""
    key_file: str = ""
    """Where the key is read, anew each time, if not given as `key`."""
    join_token_file: str = ""
    """A join token of its own; one without a key needs one made with `--keyless`."""
    models: list[EndpointModel] = []
    """None: all that the upstream lists."""
    context_length: NonNegativeInt = 0
    """Of models for which neither they nor the upstream say; 0: unknown."""
    tasks: list[Task] = field(default_factory=lambda: [Task.CHAT, Task.COMPLETIONS])
    modalities: list[str] = field(default_factory=lambda: ["text"])
    can_continue: bool = False
    exclusive: bool = False
    max_concurrency: PositiveInt = DEFAULT_CONCURRENCY
    weight: Weight = 1.0
    labels: dict[str, str] = {}
    extra_body: dict[str, Any] = {}
    extra_headers: dict[str, str] = {}

    @property
    def speaks(self) -> UpstreamApi:
        return self.api or api_at(self.upstream)

    def read_key(self) -> str:
        """Return the key as it reads by now; raises `BadSetting`."""
        if not self.key_file:
            return self.key
        return read_key(Path(self.key_file), "The upstream's key file")


class EndpointsFile(Struct, kw_only=True, frozen=True):
    endpoints: Annotated[list[Endpoint], Meta(min_length=1)]


def read_endpoints(file: Path) -> list[Endpoint]:
    """Return the endpoints in `file`; raises `BadSetting` naming what is wrong."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadSetting(f"--endpoints {file}: {error.strerror}.") from error
    try:
        endpoints = msgspec.json.decode(content, type=EndpointsFile).endpoints
    except msgspec.DecodeError as error:
        raise BadSetting(
            f"--endpoints {file}: {error}. A file of FastChat's is turned into one of"
            " ours by `python manage.py import_endpoints FILE`."
        ) from error
    names = [endpoint.name for endpoint in endpoints]
    for name in names:
        if names.count(name) > 1:
            raise BadSetting(f"--endpoints {file}: the name {name!r} is there twice.")
    for endpoint in endpoints:
        split_upstream(endpoint.upstream)
        if endpoint.worker_address:
            check_worker_address(endpoint.worker_address)
    return endpoints


def split_provider(upstream: str) -> tuple[str, str]:
    """Return where a provider's own API is, as its clients take it, and which version.

    The version, of a path such as `/v1beta`, is empty where the path names none.
    Raises `BadAddress`.
    """
    parts = urlsplit(with_scheme(upstream, "https"))
    split_upstream(upstream)  # refuses what no address may hold
    before, after = [], [segment for segment in parts.path.split("/") if segment]
    while after and not VERSION_SEGMENT.fullmatch(after[0]):
        before.append(after.pop(0))
    path = "".join(f"/{segment}" for segment in before)
    address = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return address, after[0] if after else ""


def address_for(controller: str, endpoint: Endpoint) -> str:
    """Return the address under which the controller is to reach the upstream.

    A loopback address means this machine: to a controller on another one it is told as
    ours on the way there. Raises `BadAddress` if no way leads there.
    """
    if endpoint.worker_address:
        return with_scheme(endpoint.worker_address)
    address, _ = split_upstream(endpoint.upstream)
    parts = urlsplit(address)
    if not is_loopback(parts.hostname or ""):
        return address
    ours = local_address_towards(controller)
    if is_loopback(ours):
        return address
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{bracketed(ours)}{port}"


def split_upstream(upstream: str) -> tuple[str, str]:
    """Return address and base path: where the server is, and where its API begins.

    A path that names no version, as `/v1` and `/v1beta/openai` do, is completed by
    `/v1`. Raises `BadAddress`.
    """
    parts = urlsplit(with_scheme(upstream))
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise BadAddress(
            f"The upstream {parts.hostname} is given with a user name, ? or #. Write it"
            " as https://host/path; a key goes into --upstream-key-file."
        )
    segments = [segment for segment in parts.path.split("/") if segment]
    if not any(map(VERSION_SEGMENT.fullmatch, segments)):
        segments.append(DEFAULT_BASE_PATH.removeprefix("/"))
    address = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    return address, "/" + "/".join(segments)
