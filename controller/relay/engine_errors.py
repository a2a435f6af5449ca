"""What an engine's refusal means in OpenAI's words: one table, most telling first.

An engine's own text is not passed on unless it is about the client's request and one
of the shapes below: it may speak of paths, hosts or other users' requests.
"""

import re
from typing import Any

import msgspec

from controller.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    NoWorkerAvailable,
    SwitchyardError,
    UpstreamFailed,
)
from workers.protocol import Task


class EngineError(msgspec.Struct):
    """`error` as engines write it; `code` is a number in vLLM and a word elsewhere."""

    message: str = ""
    type: str | None = None
    param: str | None = None
    code: int | str | None = None


class EngineErrorBody(msgspec.Struct):
    """As OpenAI and vLLM write it; SGLang, FastChat and older vLLM have the same fields
    without `error` around them, and others words alone."""

    error: EngineError | str | None = None
    message: str = ""
    param: str | None = None
    code: int | str | None = None

    @property
    def reported(self) -> EngineError | None:
        """The error in the one shape; None for a body that tells of none."""
        if isinstance(self.error, EngineError):
            return self.error
        message = self.error or self.message
        if not message:
            return None
        return EngineError(message, param=self.param, code=self.code)


# vLLM: "This model's maximum context length is 2048 tokens. However, your prompt
# contains 3000 input tokens, ..." and "Input length (3000) exceeds model's maximum
# context length (2048)."; both numbers stand in the sentence, whatever its form.
CONTEXT_LENGTH = re.compile(r"maximum context length\D{1,8}\d+", re.IGNORECASE)
CODE = re.compile(r"[a-z0-9_.-]{1,50}", re.IGNORECASE)
# Where the text stands that can be too long; of scoring it may be either side.
PROMPT_FIELDS = {
    Task.CHAT: "messages",
    Task.COMPLETIONS: "prompt",
    Task.EMBEDDINGS: "input",
}
CLIENTS_MISTAKES = frozenset({400, 413, 422})
RETRY_SECONDS = 2
MAX_RETRY_SECONDS = 3600
MAX_SHOWN = 500  # characters of an engine's text about a client's own mistake


def translate(
    engine: str,
    status: int,
    body: bytes,
    task: Task = Task.CHAT,
    retry_after: str | None = None,
    is_cut: bool = False,
) -> SwitchyardError:
    """The error to answer with, for an engine's answer of 4xx or 5xx to such a task.

    `engine` tells whose table applies: today all of ours speak one dialect.
    `retry_after` is the engine's header: a provider knows best when it takes more.
    `is_cut`: the body is longer than what was read of it, as where an engine repeats
    the request that it refuses.
    """
    reported = _reported(body)
    if status in CLIENTS_MISTAKES and (reported is not None or is_cut):
        return _clients_mistake(reported or EngineError(), task)
    if status in {429, 503}:
        return NoWorkerAvailable(
            "The worker that was chosen takes no more requests now.",
            retry_after=_seconds(retry_after) or RETRY_SECONDS,
        )
    return UpstreamFailed(
        f"The engine behind this model failed to answer (it said {status}). Try again;"
        " if that is of no use, tell an operator of this site."
    )


def translate_event(engine: str, error: dict[str, Any]) -> SwitchyardError:
    """The error to show for one that an engine sent inside a stream."""
    code = error.get("code")
    status = code if isinstance(code, int) else 500
    return translate(engine, status, msgspec.json.encode({"error": error}))


def _seconds(header: str | None) -> int:
    """The seconds of a Retry-After, within bounds; 0 for none, or for a date."""
    if header is None or not (header.isascii() and header.isdigit()):
        return 0
    return min(int(header[:6]), MAX_RETRY_SECONDS)


def _reported(body: bytes) -> EngineError | None:
    try:
        return msgspec.json.decode(body, type=EngineErrorBody).reported
    except msgspec.DecodeError:
        return None


def _clients_mistake(reported: EngineError, task: Task) -> SwitchyardError:
    message = reported.message[:MAX_SHOWN]
    too_long = reported.code == ContextLengthExceeded.code
    if too_long or CONTEXT_LENGTH.search(message):
        return ContextLengthExceeded(message, param=PROMPT_FIELDS.get(task))
    code = reported.code if isinstance(reported.code, str) else ""
    return InvalidRequest(
        message or "The engine behind this model refused the request.",
        param=reported.param[:100] if reported.param else None,
        code=code if CODE.fullmatch(code) else None,
    )
