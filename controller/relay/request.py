"""A request as the relay takes it: checked by an edge, the same for every face."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from workers.protocol import Task


def make_request_id() -> str:
    """24 hexadecimal digits: the id in the answer, the ledger and the engine."""
    return secrets.token_hex(12)


@dataclass(slots=True, kw_only=True)
class InferenceRequest:
    """What to ask of which model. `body` is the relay's to change and re-encode."""

    endpoint: str
    """The path that clients know, such as `/v1/chat/completions`."""
    task: Task
    model: str
    """The name that the client asked for: a served model's or an alias."""
    body: dict[str, Any]
    engine_path: str = ""
    """Where engines have it, if not there too."""
    stream: bool = False
    show_usage: bool = False
    """The client of a stream asked to see the usage event."""
    size: int = 0
    """Bytes of the body as it came."""
    queue_seconds: float | None = None
    """How long it may wait in line, where the client asks for less than we allow."""
    request_id: str = field(default_factory=make_request_id)
    client_request_id: str = ""
    session: str = ""
    """Requests of one session should meet on one worker."""
    arrived_at: float = field(default_factory=time.perf_counter)
