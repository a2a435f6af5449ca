"""Which API an upstream speaks: OpenAI's, or one that has to be translated."""

from enum import StrEnum
from urllib.parse import urlsplit


class UpstreamApi(StrEnum):
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"

    @property
    def is_foreign(self) -> bool:
        return self is not UpstreamApi.OPENAI


def api_at(upstream: str) -> UpstreamApi:
    """Return what is spoken at the address, as far as the address tells; else OpenAI's.

    Gemini's OpenAI-compatible side has a path of its own. Anthropic's shares the
    address of its own API, which can do more.
    """
    parts = urlsplit(upstream if "://" in upstream else f"https://{upstream}")
    if parts.hostname == "api.anthropic.com":
        return UpstreamApi.ANTHROPIC
    is_googles = parts.hostname == "generativelanguage.googleapis.com"
    if is_googles and "openai" not in parts.path.split("/"):
        return UpstreamApi.GEMINI
    return UpstreamApi.OPENAI
