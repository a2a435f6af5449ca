"""Why a worker was turned away, as the REST contract tells it."""

from controller.errors import SwitchyardError
from workers.protocol import RefusalCode

_STATUSES = {
    RefusalCode.BAD_REQUEST: 400,
    RefusalCode.PROTOCOL_MISMATCH: 400,
    RefusalCode.TOKEN_MISSING: 401,
    RefusalCode.TOKEN_INVALID: 401,
    RefusalCode.TOKEN_USED: 401,
    RefusalCode.TOKEN_EXPIRED: 401,
    RefusalCode.WORKER_UNKNOWN: 401,
    RefusalCode.ADDRESS_NOT_ALLOWED: 403,
    RefusalCode.ADDRESS_UNRESOLVABLE: 422,
    RefusalCode.ADDRESS_TAKEN: 409,
    RefusalCode.MODEL_NAME_TAKEN: 409,
    RefusalCode.ENGINE_UNREACHABLE: 422,
    RefusalCode.ENGINE_OPEN: 422,
    RefusalCode.ENGINE_REDIRECTS: 422,
    RefusalCode.ENGINE_REFUSES_KEY: 422,
    RefusalCode.ENGINE_SERVES_OTHER: 422,
}


class WorkerRefused(SwitchyardError):
    """A worker's call that is refused; `code` is one of `RefusalCode`.

    The message names the value and the repair. It may hold what the worker said of
    itself, but never a token, a key, or bytes that the claimed address answered.
    """

    type = "worker_refused"

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message, code=code.value)
        self.status = _STATUSES[code]


def worker_unknown() -> WorkerRefused:
    """One answer for an unknown id, a worker that left and a wrong credential."""
    return WorkerRefused(
        RefusalCode.WORKER_UNKNOWN,
        "No registered worker has this id and credential. Join with a join token.",
    )
