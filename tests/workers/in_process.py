"""Call an engine's ASGI application without a server between."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from workers.transformers_engine.app import Application


@dataclass(frozen=True)
class Answered:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class InProcessEngine:
    """The calls of a client that stays until it is answered."""

    application: Application

    async def post(self, path: str, **body: Any) -> Answered:
        messages = [{"type": "http.request", "body": json.dumps(body).encode()}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            return await asyncio.Future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": []}
        await self.application(scope, receive, send)
        answer = b"".join(message.get("body", b"") for message in sent)
        return Answered(sent[0]["status"], answer)

    async def answer(self, path: str, **body: Any) -> Any:
        """Return the parsed answer to a request that must succeed."""
        answered = await self.post(path, **{"temperature": 0, **body})
        assert answered.status == 200, answered.body
        return answered.json

    async def choices(self, path: str, **body: Any) -> list[Any]:
        """Return the choices of all chunks of a stream."""
        wished = {"temperature": 0, "stream": True, **body}
        answered = await self.post(path, **wished)
        assert answered.status == 200, answered.body
        *events, last = answered.body.decode().removesuffix("\n\n").split("\n\n")
        assert last == "data: [DONE]"
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        return [choice for chunk in chunks for choice in chunk["choices"]]

    async def refusal(self, path: str, **body: Any) -> Any:
        """Return the error of a request that must be refused."""
        answered = await self.post(path, **body)
        assert answered.status == 400, answered.body
        return answered.json["error"]
