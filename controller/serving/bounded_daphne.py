"""daphne with bounds on what it holds, as uvicorn has them.

daphne takes in a request's whole body before the application is asked, and an answer's
bytes however many are waiting to be sent. Here a body is kept up to its limit, and
`send` waits while the client does not read.
"""

from daphne.server import Server  # isort:skip  # installs its reactor

import asyncio
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from django.conf import settings


class BoundedRequest(WebRequest):  # type: ignore[misc]
    """A request that is, to its connection, the producer of its answer's bytes.

    Twisted's IPushProducer: it is told when the connection holds enough of them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._may_send = asyncio.Event()
        self._may_send.set()

    async def until_sendable(self) -> None:
        """Return when the connection takes more, or is gone."""
        await self._may_send.wait()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        # One byte too many is kept: by it the application sees, and says, that the
        # body is too large. Many addresses take less, as it knows.
        room = settings.LARGEST_BODY_BYTES + 1 - self.content.tell()
        if room > 0:
            super().handleContentChunk(data[:room])

    def handle_reply(self, message: dict[str, Any]) -> None:
        is_first = message["type"] == "http.response.start"
        if is_first and self.channel is not None and not self.finished:
            self.registerProducer(self, True)
        super().handle_reply(message)

    def finish(self) -> None:
        if self.producer is not None:
            self.unregisterProducer()
        self._may_send.set()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self.producer = None
        self._may_send.set()
        super().connectionLost(reason)

    # -- called by the connection ----------------------------------------------

    def pauseProducing(self) -> None:  # noqa: N802
        self._may_send.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._may_send.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._may_send.set()


class BoundedFactory(HTTPFactory):  # type: ignore[misc]
    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = BoundedRequest
        return protocol


class BoundedServer(Server):  # type: ignore[misc]
    @property
    def http_factory(self) -> HTTPFactory:
        return self._http_factory

    @http_factory.setter
    def http_factory(self, _daphnes: HTTPFactory) -> None:
        # `Server.run` makes one of its own and cannot be told of another.
        self._http_factory = BoundedFactory(self)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        await super().handle_reply(protocol, message)
        if isinstance(protocol, BoundedRequest):
            await protocol.until_sendable()
