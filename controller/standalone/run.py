"""Start everything in order, say when it can be used, stop it in order."""

import asyncio
import signal

from channels.db import database_sync_to_async

from controller.bootstrap import Credentials
from controller.standalone import console, services
from controller.standalone.liveness import wait_until_live
from controller.standalone.place import CannotRun, Place
from controller.standalone.supervisor import ServiceFailed, Supervisor


async def run(place: Place, credentials: Credentials | None) -> None:
    """Start everything and stay until a signal asks to stop.

    Raises `CannotRun` when a process does not stay up; all are stopped by then.
    """
    supervisor = Supervisor(console.show, console.OURS)
    running = asyncio.create_task(_bring_up(supervisor, place, credentials))

    def stop() -> None:
        if running.cancelling():  # asked a second time: wait for nobody
            supervisor.kill()
            return
        console.show(console.OURS, "stopping; once more ends everything at once")
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.wait([running])
    await supervisor.stop()
    if not running.cancelled() and (failure := running.exception()):
        raise failure


async def _bring_up(
    supervisor: Supervisor, place: Place, credentials: Credentials | None
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.watch())
            supervisor.start(services.web(place))
            supervisor.start(services.tasks())
            await supervisor.run_once(services.preparation())
            supervisor.start(services.worker(place))
            await wait_until_live(place, credentials)
            await database_sync_to_async(console.show_welcome)(place, credentials)
    except* ServiceFailed as failures:
        raise CannotRun(str(failures.exceptions[0])) from failures
