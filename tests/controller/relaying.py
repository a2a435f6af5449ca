"""Gateways before engines, and what comes through them: for tests of the relay."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async

from controller.gateway import Gateway, running_gateway
from controller.identity.caller import Caller
from controller.models import LedgerEntry
from controller.relay import sse
from controller.relay.exchange import Exchange
from controller.relay.request import InferenceRequest
from tests.factories import make_placement, make_worker
from workers.protocol import Task

KEY = "engine-key"
MODEL = "mock-1"
CALLER = Caller(
    face="api",
    identity="user:7",
    user_id=7,
    key_id=3,
    team_id=2,
    teams=frozenset({2}),
)

new_worker = sync_to_async(make_worker)
new_placement = sync_to_async(make_placement)


@asynccontextmanager
async def gateway_before(*urls: str, **fields: Any) -> AsyncIterator[Gateway]:
    """A gateway before workers with these addresses, asked in this order.

    `tasks` are what they do, the usual ones if not given.
    """
    tasks = {"tasks": fields.pop("tasks")} if "tasks" in fields else {}
    for length, url in enumerate(urls):  # the shortest queue is asked first
        worker = await new_worker(address=url, running=length * 100, **fields)
        await new_placement(worker, MODEL, **tasks)
    async with running_gateway() as running:
        yield running


def make_request(text: str = "Hi", **fields: Any) -> InferenceRequest:
    values: dict[str, Any] = {
        "endpoint": "/v1/chat/completions",
        "task": Task.CHAT,
        "model": MODEL,
        "body": {"model": MODEL, "messages": [{"role": "user", "content": text}]},
        "stream": True,
    }
    values["body"]["stream"] = fields.get("stream", True)
    return InferenceRequest(**values | fields)


async def read_all(exchange: Exchange) -> bytes:
    async with aclosing(exchange):
        return b"".join([block async for block in exchange.events()])


def text_of(stream: bytes) -> str:
    deltas = [
        choice["delta"].get("content") or ""
        for event in sse.decode_events(stream)
        for choice in event["choices"]
    ]
    return "".join(deltas)


async def ledger_row(gateway: Gateway) -> LedgerEntry:
    """The row of what was asked, which is settled exactly once."""
    assert len(gateway.ledger) == 1
    await gateway.flush()
    return await LedgerEntry.objects.aget()


async def is_idle(gateway: Gateway) -> bool:
    """Nothing is held for anybody any more."""
    return not gateway.exchanges and all(
        load.in_flight == load.prefill_tokens == 0
        for load in gateway.fleet.loads.values()
    )
