"""The end of a web process, the same on both servers, in steps with bounds.

First it is not ready, for a balancer to notice; then it takes no more connections;
what runs has SHUTDOWN_GRACE to end and is then interrupted with an event that says so.
A second signal skips the waiting.
"""

import asyncio
import logging
from collections.abc import Callable

from django.conf import settings

from controller.gateway import gateway

logger = logging.getLogger(__name__)


async def leave(stop_listening: Callable[[], None]) -> None:
    """Return when nothing is under way here, at the latest after the grace."""
    running = gateway()
    running.is_ready = False
    logger.info("stopping: not ready from now on")
    await asyncio.sleep(settings.SHUTDOWN_NOTICE.total_seconds())
    stop_listening()
    running.resumable.close_left()
    logger.info("stopping: %d requests under way may end", len(running.exchanges))
    try:
        async with asyncio.timeout(settings.SHUTDOWN_GRACE.total_seconds()):
            await running.until_idle()
    except TimeoutError:
        logger.warning("stopping: interrupting %d requests", len(running.exchanges))
        running.interrupt()
