"""Everything the product refuses or fails with, in one small tree.

Each error knows its HTTP status and its words in OpenAI's shape. The edges translate
once: `/v1` by `error_body`, the chat page by the message alone.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec


class SwitchyardError(Exception):
    """A request that ends without its answer, and why, for the one who asked."""

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code
        self.retry_after = retry_after

    def headers(self) -> dict[str, str]:
        """What the answer's headers must add: `Retry-After` in whole seconds."""
        return (
            {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        )


class InvalidRequest(SwitchyardError):
    """The body or a parameter is wrong; `param` names it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class ContentBlocked(InvalidRequest):
    """A rule blocks what was asked. Its category is told, and never what it found."""

    code = "content_policy_violation"

    def __init__(self, category: str) -> None:
        super().__init__(
            "Your request was not sent to the model: it goes against a rule of this"
            f" site about {category}. Change it and send it again."
        )


class BodyTooLarge(InvalidRequest):
    status = 413
    code = "request_too_large"


class AuthenticationFailed(SwitchyardError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class PermissionRefused(SwitchyardError):
    status = 403
    type = "permission_error"
    code = "insufficient_permissions"


class UserBanned(PermissionRefused):
    """Somebody who may not use models for a while: told why, and until when."""

    code = "user_banned"

    def __init__(self, reason: str, ends_at: datetime | None) -> None:
        until = "until an operator of this site lifts this"
        if ends_at is not None:
            until = f"until {ends_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        super().__init__(
            f"You cannot use models {until}: {reason} Ask an operator of this site if"
            " you think that this is wrong."
        )
        self.ends_at = ends_at


class GuestLinkEnded(PermissionRefused):
    """A guest whose link is over: by time, or by an operator's word."""

    code = "guest_link_ended"

    def __init__(self) -> None:
        super().__init__(
            "The guest link that let you chat here is over. Ask whoever gave it to you"
            " for a new one."
        )


class NotFound(InvalidRequest):
    status = 404
    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """The address is right, and what should be done with it is not."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(f"{method} is not allowed here. Send {' or '.join(allowed)}.")
        self._allowed = allowed

    def headers(self) -> dict[str, str]:
        return super().headers() | {"Allow": ", ".join(self._allowed)}


class StreamGone(InvalidRequest):
    """A resumable stream was this caller's, and what is asked of it is not kept."""

    status = 410
    code = "stream_gone"


class ModelNotFound(NotFound):
    """A name never registered, or not allowed to this caller: the same answer."""

    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model `{model}` does not exist or you do not have access to it.",
            param="model",
        )


class RateLimited(SwitchyardError):
    """Too much in too short a time; waiting helps."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class QuotaSpent(SwitchyardError):
    """A budget has nothing left for this request."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"


class BudgetUnavailable(SwitchyardError):
    """What is left of a budget cannot be known now, and nothing is given unseen."""

    status = 503
    type = "overloaded_error"
    code = "store_unavailable"


class NoWorkerAvailable(SwitchyardError):
    """The model is known, and nothing serves it now."""

    status = 503
    type = "overloaded_error"
    code = "no_worker_available"


class WorkersFull(NoWorkerAvailable):
    """Live workers do this, and none of them has room: a reason to wait in line."""


class QueueShareFull(SwitchyardError):
    """Of this caller enough is waiting already."""

    status = 429
    type = "rate_limit_error"
    code = "queue_share_full"


class QueueFull(SwitchyardError):
    """Workers and waiting line are full."""

    status = 503
    type = "overloaded_error"
    code = "queue_full"


class QueueTimedOut(QueueFull):
    """Its turn did not come, or would not come, within the time it may wait."""

    code = "queue_timeout"


class ShuttingDown(SwitchyardError):
    status = 503
    type = "overloaded_error"
    code = "shutting_down"


class ModerationUnavailable(SwitchyardError):
    """What has to judge a prompt does not answer, and nothing is sent unjudged."""

    status = 503
    type = "overloaded_error"
    code = "moderation_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "Your request was not sent to the model: what has to look through it first"
            " does not answer now. Try again shortly.",
            retry_after=10,
        )


class StoreUnavailable(SwitchyardError):
    """The database does not answer, and what is asked for is not in memory."""

    status = 503
    type = "overloaded_error"
    code = "store_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The server cannot reach its database now, and has not seen this key"
            " or account since it started. Try again shortly.",
            retry_after=5,
        )


class UpstreamFailed(SwitchyardError):
    """The engine broke off, answered nonsense, or failed in a way we do not know."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"


class UpstreamTimedOut(UpstreamFailed):
    status = 504
    code = "upstream_timeout"


class AnswerUnread(SwitchyardError):
    """Nobody takes a stream's events, and its engine waits with a place taken."""

    status = 499
    type = "invalid_request_error"
    code = "answer_not_read"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"Nothing was read of this stream for {seconds:g} s, so that its engine was"
            " let go. Ask again, and read on as events come."
        )


def error_dict(error: SwitchyardError) -> dict[str, Any]:
    """`{"error": {...}}` as OpenAI writes it."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def error_body(error: SwitchyardError) -> bytes:
    """The error as a JSON body."""
    return msgspec.json.encode(error_dict(error))


def error_event(error: SwitchyardError) -> bytes:
    """The error as one SSE event, for a stream whose status is already sent."""
    return b"data: " + error_body(error) + b"\n\n"
