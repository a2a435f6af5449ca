"""API keys in memory: a credential becomes a `Caller` without a query, nearly always.

A key is found by its full digest in an LRU. A miss with a right checksum costs one
query, shared by all that wait for it; a digest that no key has is remembered for a
while; a wrong checksum costs nothing. A change of any key empties the ring.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import Error as DatabaseError
from django.utils.timezone import now

from controller.errors import AuthenticationFailed, StoreUnavailable
from controller.identity import secrets
from controller.identity.caller import Caller
from controller.models import ApiKey, LedgerEntry

MAX_KEYS = 100_000
MAX_UNKNOWN = 100_000
UNKNOWN_SECONDS = 5.0
MAX_LOOKUPS = 500  # under way at once, of different keys


@dataclass(frozen=True, slots=True)
class KnownKey:
    caller: Caller
    expires_at: datetime | None


def find_key(digest: str) -> KnownKey | None:
    """The active key with this digest. One query."""
    key = ApiKey.objects.active().filter(digest=digest).first()
    return None if key is None else KnownKey(_caller_of(key), key.expires_at)


def write_last_used(used: dict[int, datetime]) -> None:
    """Note when keys were last used. One statement."""
    rows = [ApiKey(id=key_id, last_used_at=moment) for key_id, moment in used.items()]
    if rows:
        ApiKey.objects.bulk_update(rows, ["last_used_at"], batch_size=200)


def _caller_of(key: ApiKey) -> Caller:
    models = key.allowed_models
    return Caller(
        face=LedgerEntry.Face.API.value,
        identity=f"key:{key.pk}",
        user_id=key.user_id,
        key_id=key.pk,
        team_id=key.team_id,
        scopes=frozenset(key.scopes),
        allowed_models=None if models is None else frozenset(models),
        max_concurrent=key.max_concurrent,
    )


class KeyRing:
    """`in_thread` runs a sync function with the database, off the event loop."""

    def __init__(
        self,
        in_thread: Callable[..., Awaitable[KnownKey | None]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._in_thread = in_thread
        self._monotonic = monotonic
        self._known: OrderedDict[str, KnownKey] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._lookups: dict[str, asyncio.Future[KnownKey | None]] = {}
        self._used: dict[int, None] = {}
        self._generation = 0

    async def caller(self, secret: str) -> Caller:
        """Who holds this secret. Raises `AuthenticationFailed`, the same for a key
        that never was, was revoked, or has expired."""
        if not secrets.has_right_checksum(secret, secrets.API_KEY):
            raise _refusal(secret)
        digest = secrets.digest(secret)
        known = self._known.get(digest)
        if known is None:
            known = await self._look_up(digest, secret)
        else:
            self._known.move_to_end(digest)
        if known.expires_at is not None and known.expires_at <= now():
            raise _refusal(secret)
        if known.caller.key_id is not None:
            self._used[known.caller.key_id] = None
        return known.caller

    async def _look_up(self, digest: str, secret: str) -> KnownKey:
        if self._unknown.get(digest, 0.0) > self._monotonic():
            raise _refusal(secret)
        lookup = self._lookups.get(digest)
        if lookup is None:
            if len(self._lookups) >= MAX_LOOKUPS:
                raise StoreUnavailable  # a flood of guesses, or a very slow database
            lookup = asyncio.ensure_future(self._query(digest))
            self._lookups[digest] = lookup
            lookup.add_done_callback(lambda done: self._finished(digest, done))
        # Shielded: the first of many that wait may leave without the others losing it.
        known = await asyncio.shield(lookup)
        if known is None:
            raise _refusal(secret)
        return known

    def _finished(self, digest: str, lookup: "asyncio.Future[KnownKey | None]") -> None:
        if self._lookups.get(digest) is lookup:
            del self._lookups[digest]
        if not lookup.cancelled():
            lookup.exception()  # seen: all who waited may have left

    async def _query(self, digest: str) -> KnownKey | None:
        generation = self._generation
        try:
            known = await self._in_thread(find_key, digest)
        except DatabaseError as exc:
            raise StoreUnavailable from exc
        if generation != self._generation:
            return known  # read before a change that we know of: good for this once
        if known is None:
            self._unknown[digest] = self._monotonic() + UNKNOWN_SECONDS
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
        else:
            self._known[digest] = known
            if len(self._known) > MAX_KEYS:
                self._known.popitem(last=False)
        return known

    def forget(self) -> None:
        """Ask the database anew about every key from now on."""
        self._generation += 1
        self._known.clear()
        self._unknown.clear()
        self._lookups.clear()

    def take_used(self) -> dict[int, datetime]:
        """Ids of the keys used since the last call, with the time of this call."""
        taken = dict.fromkeys(self._used, now())
        self._used.clear()
        return taken


def _refusal(secret: str) -> AuthenticationFailed:
    # A right-looking beginning is shown so that a person finds which key it was; the
    # rest never appears, and of a stranger's string nothing does.
    shown = ""
    if secrets.has_right_checksum(secret, secrets.API_KEY):
        shown = f" ({secrets.shown_part(secret)}…)"
    return AuthenticationFailed(
        f"Incorrect API key provided{shown}. You can make one on the page of your"
        " account, or ask the operator of this site."
    )
