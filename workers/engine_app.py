"""What the HTTP side of every engine of ours has in common: paths, and failures."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from workers.exchange import Answer, Exchange
from workers.refusals import GenerationFailed, RequestRefused

logger = logging.getLogger(__name__)

Handler = Callable[[Exchange], Awaitable[Answer]]


class EngineApplication:
    """A plain ASGI application: a handler for each method and path."""

    def __init__(self, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._handlers = handlers
        self._paths = {path for _, path in handlers}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} is not served.")
        exchange = Exchange(scope, receive, send)
        await exchange.answer_with(self._handle)

    async def _handle(self, exchange: Exchange) -> Answer:
        """Return the answer, errors included, unless it has been streamed already."""
        handler = self._handlers.get((exchange.method, exchange.path))
        try:
            if handler is not None:
                return await handler(exchange)
            status = 405 if exchange.path in self._paths else 404
            raise RequestRefused(
                f"{exchange.method} {exchange.path} is not served.", status=status
            )
        except RequestRefused as error:
            return Answer.of_error(error, error.status)
        except GenerationFailed as error:
            return Answer.of_error(error, 500)
        except Exception as error:
            logger.exception("A request failed.")
            return Answer.of_error(error, 500)
