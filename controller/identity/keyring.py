"""API keys in memory: a credential becomes a `Caller` without a query, nearly always.

A key is found by its full digest in an LRU. A miss with a right checksum costs one
query, shared by all that wait for it; a digest that no key has is remembered for a
while; a wrong checksum costs nothing. Keys that were made elsewhere have no checksum:
their digests are all here, so that a wrong guess at one costs no query either. A change
of any key empties the ring.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from django.db import Error as DatabaseError
from django.utils.timezone import now

from controller.errors import AuthenticationFailed, StoreUnavailable
from controller.identity import secrets
from controller.identity.bounds import NOWHERE, KeyBounds, KeyUse
from controller.identity.caller import Caller
from controller.models import ApiKey, LedgerEntry

MAX_KEYS = 100_000
MAX_UNKNOWN = 100_000
UNKNOWN_SECONDS = 5.0
MAX_LOOKUPS = 500  # under way at once, of different keys
BATCH_SIZE = 500  # digests in one statement


@dataclass(frozen=True, slots=True)
class KnownKey:
    caller: Caller
    expires_at: datetime | None
    bounds: KeyBounds | None = None


@dataclass(frozen=True, slots=True)
class UsedKeys:
    digests: tuple[str, ...]
    at: datetime


def find_key(digest: str) -> KnownKey | None:
    """The active key with this digest. One query."""
    key = next(iter(ApiKey.objects.active().opened_by(digest)), None)
    if key is None:
        return None
    ends = [key.expires_at, None if key.digest == digest else key.previous_expires_at]
    first_end = min((end for end in ends if end is not None), default=None)
    return KnownKey(_caller_of(key), first_end, KeyBounds.of(key))


def imported_digests() -> frozenset[str]:
    """Digests of the keys that were made elsewhere and are not revoked. One query."""
    keys = ApiKey.objects.unrevoked().exclude(imported_digest=None)
    return frozenset(filter(None, keys.values_list("imported_digest", flat=True)))


def unrevoked_ids(key_ids: Collection[int]) -> set[int]:
    """Which of these keys nobody has revoked. One query."""
    keys = ApiKey.objects.unrevoked().filter(pk__in=key_ids)
    return set(keys.values_list("pk", flat=True))


def write_last_used(used: UsedKeys) -> None:
    """Note when secrets were last used. Two statements for each BATCH_SIZE."""
    for start in range(0, len(used.digests), BATCH_SIZE):
        batch = used.digests[start : start + BATCH_SIZE]
        ApiKey.objects.filter(digest__in=batch).update(last_used_at=used.at)
        ApiKey.objects.filter(previous_digest__in=batch).update(
            previous_last_used_at=used.at
        )


def _caller_of(key: ApiKey) -> Caller:
    models = key.allowed_models
    return Caller(
        face=LedgerEntry.Face.API.value,
        identity=f"key:{key.pk}",
        user_id=key.user_id,
        key_id=key.pk,
        team_id=key.team_id,
        teams=frozenset() if key.team_id is None else frozenset({key.team_id}),
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
        self._imported: frozenset[str] = frozenset()
        self._used: dict[str, None] = {}
        self.generation = 0
        """Moves with each `forget`: a caller found before it may be one no longer."""

    async def caller(self, secret: str, use: KeyUse = NOWHERE) -> Caller:
        """Who holds this secret. Raises `AuthenticationFailed`, the same for a key
        that never was, was revoked, or has expired; `PermissionRefused` for a right one
        that is not for this use."""
        is_ours = secrets.is_api_key(secret)
        if not is_ours and not self._imported:
            raise _refusal(secret)
        digest = secrets.digest(secret)
        if not is_ours and digest not in self._imported:
            raise _refusal(secret)
        known = self._known.get(digest)
        if known is None:
            known = await self._look_up(digest, secret)
        else:
            self._known.move_to_end(digest)
        if known.expires_at is not None and known.expires_at <= now():
            raise _refusal(secret)
        if known.bounds is not None:
            known.bounds.check(use)
        self._used[digest] = None
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
        generation = self.generation
        try:
            known = await self._in_thread(find_key, digest)
        except DatabaseError as exc:
            raise StoreUnavailable from exc
        if generation != self.generation:
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

    def forget(self, imported: frozenset[str] = frozenset()) -> None:
        """Ask the database anew about every key from now on. `imported` are the digests
        of all keys that were made elsewhere."""
        self.generation += 1
        self._imported = imported
        self._known.clear()
        self._unknown.clear()
        self._lookups.clear()

    def take_used(self) -> UsedKeys:
        """The secrets used since the last call, with the time of this call."""
        taken = UsedKeys(tuple(self._used), now())
        self._used.clear()
        return taken


def _refusal(secret: str) -> AuthenticationFailed:
    # A right-looking beginning is shown so that a person finds which key it was; the
    # rest never appears, and of a stranger's string nothing does.
    shown = ""
    if secrets.is_api_key(secret):
        shown = f" ({secrets.shown_part(secret)}…)"
    return AuthenticationFailed(
        f"Incorrect API key provided{shown}. You can make one on the page of your"
        " account, or ask the operator of this site."
    )
