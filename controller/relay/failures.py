"""How a try with a worker fails, and what that means to a client and to the breaker."""

from controller.errors import SwitchyardError, UpstreamFailed, UpstreamTimedOut
from controller.fleet.breaker import Cause
from controller.relay.client import (
    StreamStalled,
    UpstreamBroken,
    UpstreamDown,
    UpstreamSilent,
)

STOOD_STILL = (UpstreamSilent, UpstreamDown, StreamStalled)


class WorkerFailed(Exception):
    """This worker cannot answer, for this reason; `error` is said if none can."""

    def __init__(self, error: SwitchyardError, reason: object) -> None:
        super().__init__(str(reason))
        self.error = error


class EngineFailed(UpstreamBroken):
    """The engine said in mid-stream that it failed; `error` is what that means."""

    def __init__(self, error: SwitchyardError) -> None:
        super().__init__(error.message)
        self.error = error


def cause_of(exc: UpstreamBroken) -> Cause:
    return Cause.HANGING if isinstance(exc, STOOD_STILL) else Cause.BREAKING_OFF


def as_error(exc: UpstreamBroken) -> SwitchyardError:
    """What a client is told where nobody else can answer."""
    if isinstance(exc, EngineFailed):
        return exc.error
    if isinstance(exc, STOOD_STILL):
        return UpstreamTimedOut(
            f"The engine behind this model stood still: {exc}. Try again."
        )
    return UpstreamFailed(
        "The engine behind this model broke off before its answer was complete."
        " Try again."
    )
