"""FastChat's file of API endpoints, read as it is, and turned into api_worker's.

FastChat's `--register-api-endpoint-file` is one JSON object: a name as people see it,
and below it `model_name` (what the provider calls it), `api_type`, `api_base`,
`api_key` and how its web pages treat the model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from workers.protocol import ModelName


@dataclass(frozen=True)
class Provider:
    """Where FastChat's own client went if the file names no address, and the variable
    that held its key. `api` is named where it is not OpenAI's."""

    base: str
    key_variable: str
    api: str = ""


OPENAI = Provider("https://api.openai.com/v1", "OPENAI_API_KEY")
ANTHROPIC = Provider("https://api.anthropic.com", "ANTHROPIC_API_KEY", "anthropic")
GEMINI = Provider(
    "https://generativelanguage.googleapis.com", "GEMINI_API_KEY", "gemini"
)
PROVIDERS = {
    "openai": OPENAI,
    "openai_no_stream": OPENAI,
    "openai_o1": OPENAI,
    "mistral": Provider("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "anthropic": ANTHROPIC,
    "anthropic_message": ANTHROPIC,
    "gemini": GEMINI,
    "gemini_no_stream": GEMINI,
}
# What people write where a server wants no key and their client wants a text.
NO_KEY = {"", "empty", "none", "null", "-"}
MAX_MODELS = 256
# Of FastChat's pages: said to be left out, since nothing here uses them yet.
UNUSED_FIELDS = {
    "recommended_config": "FastChat used it in battles; there is no arena yet",
    "custom_system_prompt": "system prompts are the callers' own",
    "text-arena": "there is no arena yet",
}
KNOWN_FIELDS = {
    *("model_name", "api_type", "api_base", "api_key", "anony_only"),
    *("extra_body", "vision-arena", "multimodal", *UNUSED_FIELDS),
}


class _Entry(msgspec.Struct):
    """The fields that are used; every value may be missing or null."""

    api_type: str
    model_name: str | None = None
    api_base: str | None = None
    api_key: str | None = None
    anony_only: bool | None = False
    extra_body: dict[str, Any] | None = None
    vision_arena: bool | None = msgspec.field(default=False, name="vision-arena")
    multimodal: bool | None = False


@dataclass
class Imported:
    """What a file amounts to: endpoints in api_worker's shape, and what to say."""

    endpoints: list[dict[str, Any]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    """Models that FastChat showed in anonymous battles alone."""
    problems: list[str] = field(default_factory=list)
    """Entries that cannot be served, each with the reason."""
    notes: list[str] = field(default_factory=list)
    """What of the others is not taken over."""


def read_fastchat_endpoints(content: bytes, environment: Mapping[str, str]) -> Imported:
    """What the file's entries amount to. Entries with one address, key and extra body
    become one endpoint. Raises ValueError for what is no such file."""
    try:
        entries = msgspec.json.decode(content, type=dict[str, dict[str, Any]])
    except msgspec.DecodeError as exc:
        raise ValueError(
            f"This is no file of FastChat's API endpoints: {exc}. It is one JSON object"
            ' such as {"gpt-4o": {"model_name": "gpt-4o", "api_type": "openai", ...}}.'
        ) from exc
    imported = Imported()
    for name, raw in entries.items():
        try:
            endpoint, is_hidden = _endpoint(name, raw, environment)
        except ValueError as exc:
            imported.problems.append(f"{name}: {exc}")
            continue
        _add(imported, endpoint)
        if is_hidden:
            imported.hidden.append(name)
        imported.notes += _notes(name, raw)
    return imported


def is_foreign(endpoint: Mapping[str, Any]) -> bool:
    """Whether an endpoint's API has to be translated, which its worker does."""
    return bool(endpoint["api"] != "openai")


def _endpoint(
    name: str, raw: dict[str, Any], environment: Mapping[str, str]
) -> tuple[dict[str, Any], bool]:
    """One entry as an endpoint, and whether FastChat hid it. Raises ValueError."""
    try:
        entry = msgspec.convert(raw, _Entry)
        msgspec.convert(name, ModelName)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    provider = PROVIDERS.get(entry.api_type)
    if provider is None:
        raise ValueError(
            f"api_type {entry.api_type!r} is none of {', '.join(PROVIDERS)}. If the"
            " provider has an OpenAI-compatible address, give that as api_base with"
            ' api_type "openai".'
        )
    upstream = (entry.api_base or provider.base).rstrip("/")
    parts = urlsplit(upstream)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"api_base {upstream!r} is not of the form https://host/v1.")
    key = entry.api_key
    if key is None:
        key = environment.get(provider.key_variable, "")
        if not key:
            variable = provider.key_variable
            raise ValueError(f"it has no api_key, and {variable} is not set.")
    model = {"name": name}
    if entry.model_name and entry.model_name != name:
        model["upstream_model"] = entry.model_name
    endpoint: dict[str, Any] = {"upstream": upstream, "models": [model]}
    if key.strip().lower() not in NO_KEY:
        endpoint["key"] = key.strip()
    elif provider.api:
        raise ValueError(f"{entry.api_type} wants a key as api_key.")
    endpoint["api"] = provider.api or "openai"
    if entry.extra_body:
        endpoint["extra_body"] = entry.extra_body
    if entry.vision_arena or entry.multimodal:
        endpoint["modalities"] = ["text", "image"]
    return endpoint, bool(entry.anony_only)


def _add(imported: Imported, endpoint: dict[str, Any]) -> None:
    """Put the model to others of the same endpoint, or begin a new one."""
    for known in imported.endpoints:
        is_same = all(
            known.get(part) == endpoint.get(part)
            for part in ("upstream", "api", "key", "extra_body", "modalities")
        )
        if is_same and len(known["models"]) < MAX_MODELS:
            known["models"] += endpoint["models"]
            return
    host = urlsplit(endpoint["upstream"]).hostname or ""
    first_model = re.sub(r"[^A-Za-z0-9.]+", "-", endpoint["models"][0]["name"])
    imported.endpoints.append({"name": f"{host}-{first_model}", **endpoint})


def _notes(name: str, raw: Mapping[str, Any]) -> list[str]:
    notes = [
        f"{name}: {part} is not taken over ({reason})."
        for part, reason in UNUSED_FIELDS.items()
        if raw.get(part)
    ]
    if str(raw.get("api_type")).endswith("_no_stream"):
        notes.append(f"{name}: streams are asked for; it may refuse them.")
    if unknown := sorted(set(raw) - KNOWN_FIELDS):
        notes.append(f"{name}: unknown and not taken over: {', '.join(unknown)}.")
    return notes
