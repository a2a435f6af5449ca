"""What a provider's failure means to the one who asked, in OpenAI's words.

Its own text is passed on where it is about the request; what is between the provider
and us (its key, its bill, its outages) is told to the log, without text of its own.
"""

import contextlib
import email.utils
import logging
import re
import time
from typing import Any

from any_llm.exceptions import (
    AnyLLMError,
    AuthenticationError,
    ContentFilterError,
    ContextLengthExceededError,
    InsufficientFundsError,
    InvalidRequestError,
    ModelNotFoundError,
    RateLimitError,
    UnsupportedParameterError,
)
from pydantic import ValidationError

from workers.refusals import GenerationFailed, RequestRefused

logger = logging.getLogger(__name__)

OVERLOADED = frozenset({503, 529})  # 529 is Anthropic's own
MAX_RETRY_SECONDS = 3600
DEFAULT_RETRY_SECONDS = 10
# Anthropic: "prompt is too long: 210000 tokens > 200000 maximum", "input length and
# `max_tokens` exceed context limit: ..."; Gemini: "The input token count (1048577)
# exceeds the maximum number of tokens allowed (1048576)."
TOO_LONG = re.compile(
    r"prompt is too long|exceed context limit|input token count.{0,40}exceeds", re.I
)
DELAY = re.compile(r"(\d+(?:\.\d+)?)s")  # Google's durations: "36s"
# Types of what comes back.
ANSWERS = frozenset(
    {"ChatCompletion", "ChatCompletionChunk", "GenerateContentResponse"}
)
# Raised while a request is translated, before anything is sent.
UNTRANSLATABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError)


class KeyRefused(RequestRefused):
    """The provider does not take our key, or wants to be paid first."""

    def __init__(self) -> None:
        super().__init__(
            "The provider of this model refuses this worker's key.",
            code="provider_refused_key",
            status=502,
        )


def refusal_of(error: AnyLLMError) -> RequestRefused:
    """Return the refusal that stands for the provider's or the library's `error`."""
    if isinstance(error, RateLimitError):
        return RequestRefused(
            "The provider of this model takes no more requests for now.",
            code="rate_limit_exceeded",
            status=429,
            retry_after=_retry_seconds(error),
        )
    return _about_the_request(error) or _about_the_provider(error)


def misfit(error: ValidationError) -> RequestRefused | GenerationFailed:
    """Return the failure for what does not fit the library's types, ours or theirs.

    Its text is left behind: it quotes the value.
    """
    if error.title in ANSWERS:
        return GenerationFailed("The provider of this model answered something odd.")
    found = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in found["loc"])
    return RequestRefused(f"{field}: {found['msg']}.", field or None)


def _about_the_request(error: AnyLLMError) -> RequestRefused | None:
    words = _words(error)
    if isinstance(error, UnsupportedParameterError):
        field = error.parameter_name.split()[0]  # it may be a phrase about one
        return RequestRefused(error.message, field, "unsupported_parameter")
    if isinstance(error, ContextLengthExceededError) or (
        _is_rejected(error) and TOO_LONG.search(words)
    ):
        return RequestRefused(words, "messages", "context_length_exceeded")
    if isinstance(error, ContentFilterError):
        return RequestRefused(words, "messages", "content_filter")
    if isinstance(error, ModelNotFoundError):
        return RequestRefused(words, "model", "model_not_found", status=404)
    if error.status_code == 413:
        return RequestRefused(words, code="request_too_large", status=413)
    if isinstance(error, InvalidRequestError):
        return RequestRefused(words, error.param)
    # Exact types: of what comes from the provider, the clients raise subclasses.
    if error.status_code is None and type(error.original_exception) in UNTRANSLATABLE:
        return RequestRefused(
            "The provider's API has no words for this request; look at its messages"
            f" and tools ({error.original_exception}).",
        )
    return None


def _about_the_provider(error: AnyLLMError) -> RequestRefused:
    kind = type(error.original_exception or error).__name__
    logger.warning("The provider failed: %s, status %s.", kind, error.status_code)
    if isinstance(error, AuthenticationError | InsufficientFundsError):
        return KeyRefused()
    if error.status_code in OVERLOADED:
        return RequestRefused(
            "The provider of this model is overloaded.",
            code="provider_overloaded",
            status=503,
            retry_after=DEFAULT_RETRY_SECONDS,
        )
    return RequestRefused(
        "The provider of this model failed to answer.",
        code="provider_failed",
        status=502,
    )


def _is_rejected(error: AnyLLMError) -> bool:
    return error.status_code in (400, 413, 422)


def _words(error: AnyLLMError) -> str:
    """Return the provider's own sentence, out of the client's wrapping."""
    original = error.original_exception
    told = _at(getattr(original, "body", None), "error", "message")
    told = told or getattr(original, "message", None)
    return told if isinstance(told, str) and told else error.message


def _retry_seconds(error: RateLimitError) -> int:
    """Return when to ask again: as a header says, or Google's body, or as we guess."""
    seconds = _seconds_in_header(error.retry_after) or _seconds_in_details(error)
    return min(max(1, round(seconds or DEFAULT_RETRY_SECONDS)), MAX_RETRY_SECONDS)


def _seconds_in_header(text: str | None) -> float:
    with contextlib.suppress(TypeError, ValueError):
        return float(text or "")
    with contextlib.suppress(TypeError, ValueError):
        date = email.utils.parsedate_to_datetime(text or "")
        return max(1.0, date.timestamp() - time.time())
    return 0.0


def _seconds_in_details(error: RateLimitError) -> float:
    told = _at(getattr(error.original_exception, "details", None), "error", "details")
    for detail in told if isinstance(told, list) else []:
        delay = _at(detail, "retryDelay")
        if isinstance(delay, str) and (found := DELAY.fullmatch(delay)):
            return float(found.group(1))
    return 0.0


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
