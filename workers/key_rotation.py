"""A new key for the engine, at the operator's wish and without a pause."""

import asyncio
import logging
import secrets
from typing import Any

from workers.engine_client import EngineClient
from workers.errors import BadStateDir
from workers.log_tail import log_tail
from workers.registration import Registration
from workers.state import StateDir

logger = logging.getLogger(__name__)

# Both keys are good for so long: requests may be under way to the engine by the old
# one, from web processes that have not heard of the new one.
OVERLAP_SECONDS = 60.0


class KeyRotation:
    """Changes the key of a registered engine, one change at a time."""

    def __init__(self, client: EngineClient, state_dir: StateDir) -> None:
        self._client = client
        self._state_dir = state_dir
        self._under_way: asyncio.Task[None] | None = None

    def begin(self, registration: Registration[Any]) -> None:
        """Make a key, have the guard take both, and join with the new one."""
        if self._under_way is not None and not self._under_way.done():
            return
        old, new = self._client.key, secrets.token_urlsafe(32)
        log_tail.hide(new)
        try:
            self._state_dir.write_engine_keys([new, old])
        except BadStateDir as error:
            logger.error("The engine's key cannot be changed: %s", error)
            return
        self._client.key = new
        logger.info("The operator wishes a new key for the engine; joining with it.")
        has_joined = registration.join_again()
        self._under_way = asyncio.create_task(self._retire_old_key(has_joined, new))

    async def _retire_old_key(self, has_joined: asyncio.Event, new: str) -> None:
        await has_joined.wait()  # until then the controller knows no other than the old
        await asyncio.sleep(OVERLAP_SECONDS)
        try:
            self._state_dir.write_engine_keys([new])
        except BadStateDir as error:
            logger.error("The engine's former key is still good: %s", error)
        else:
            logger.info("The engine's former key opens it no more.")
