"""Serving with daphne, on Twisted's reactor over asyncio. It knows no lifespan, so the
same functions are called around its run."""

from daphne.server import twisted_loop  # isort:skip  # installs its reactor

import asyncio
import signal
import socket
from typing import Any

from django.conf import settings
from twisted.internet import reactor

from controller.serving.bounded_daphne import BoundedRequest, BoundedServer
from controller.serving.leaving import leave
from controller.serving.lifespan import Lifespan
from controller.serving.options import ServeOptions

SEND_SECONDS = 1.0


def serve(
    application: Any,
    lifespan: Lifespan,
    options: ServeOptions,
    listener: socket.socket | None,
) -> None:
    """Serve until a signal."""
    server = BoundedServer(
        application,
        endpoints=[_endpoint(options, listener)],
        signal_handlers=False,
        websocket_max_message_size=settings.MAX_SOCKET_MESSAGE_BYTES,
        websocket_max_frame_size=settings.MAX_SOCKET_MESSAGE_BYTES,
        server_name="",
    )
    asyncio.set_event_loop(twisted_loop)
    twisted_loop.run_until_complete(lifespan.start())
    leaving: list[asyncio.Task[None]] = []

    async def leave_and_stop() -> None:
        await leave(lambda: _stop_listening(server))
        await _until_sent(server)
        await lifespan.stop()
        reactor.stop()

    def on_signal() -> None:
        if leaving:
            leaving[0].cancel()
            reactor.stop()
        else:
            leaving.append(twisted_loop.create_task(leave_and_stop()))

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        twisted_loop.add_signal_handler(signal_number, on_signal)
    server.run()


async def _until_sent(server: BoundedServer) -> None:
    """Return when the last answers are with the kernel, at most `SEND_SECONDS` later.

    An exchange is over before its last bytes are, and stopping the reactor drops what
    Twisted still holds.
    """
    answers = [
        details["application_instance"]
        for protocol, details in server.connections.items()
        if isinstance(protocol, BoundedRequest) and "application_instance" in details
    ]
    if answers:
        await asyncio.wait(answers, timeout=SEND_SECONDS)
    await asyncio.sleep(0.1)  # some turns of the loop, in which Twisted writes


def _stop_listening(server: BoundedServer) -> None:
    for listening in server.listeners:
        listening.addCallback(lambda port: port.stopListening())


def _endpoint(options: ServeOptions, listener: socket.socket | None) -> str:
    """Twisted's description of where to listen."""
    if listener is not None:
        return f"fd:fileno={listener.fileno()}"
    host = options.host.replace(":", r"\:")
    return (
        f"ssl:{options.port}:interface={host}:privateKey={options.ssl_keyfile}"
        f":certKey={options.ssl_certfile}"
    )
