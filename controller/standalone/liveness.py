"""Ask the product itself whether it can be used yet."""

import asyncio
import http.client
import json
import time
from http import HTTPStatus

from controller.bootstrap import Credentials
from controller.standalone import console
from controller.standalone.place import MODEL, Place

POLL_SECONDS = 0.5
REPORT_SECONDS = 15.0


async def wait_until_live(place: Place, credentials: Credentials | None) -> None:
    """Return when the web process is ready and a worker serves the model.

    Without a key that works, nobody can be asked about the model: the web process is
    all that is waited for then.
    """
    started = reported = time.monotonic()
    while not await asyncio.to_thread(_is_live, place, credentials):
        await asyncio.sleep(POLL_SECONDS)
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            waited = reported - started
            console.show(console.OURS, f"waiting for the model ({waited:.0f} s)")


def _is_live(place: Place, credentials: Credentials | None) -> bool:
    status, _body = _get(place, "/readyz")
    if status != HTTPStatus.OK:
        return False
    if credentials is None:
        return True
    status, body = _get(place, "/v1/models", credentials.api_key)
    if status == HTTPStatus.UNAUTHORIZED:  # an operator has revoked the first key
        return True
    if status != HTTPStatus.OK:
        return False
    return any(model["id"] == MODEL for model in json.loads(body)["data"])


def _get(place: Place, path: str, key: str = "") -> tuple[int, bytes]:
    """(status, body); (0, b"") while nobody answers."""
    connection = http.client.HTTPConnection(place.local_host, place.port, timeout=5)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
