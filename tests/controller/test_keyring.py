"""Keys in memory: what a lookup costs, and how long an answer may be remembered."""

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from controller.errors import AuthenticationFailed, StoreUnavailable
from controller.identity import keyring as keyring_module
from controller.identity import secrets
from controller.identity.imports import import_keys
from controller.identity.keyring import (
    KeyRing,
    find_key,
    imported_digests,
    write_last_used,
)
from controller.models import ApiKey
from controller.threads import DatabaseThread
from tests.factories import make_key, make_team, make_user

pytestmark = pytest.mark.django_db(transaction=True)

new_key = sync_to_async(make_key)


class Lookups:
    """Counts the queries of a ring, and holds them up or fails them on demand."""

    def __init__(self, thread: DatabaseThread) -> None:
        self._thread = thread
        self.number = 0
        self.error: Exception | None = None
        self.has_read, self.may_end = asyncio.Event(), asyncio.Event()
        self.may_end.set()

    async def run(self, job, *args):
        self.number += 1
        if self.error is not None:
            raise self.error
        found = await self._thread.run(job, *args)
        self.has_read.set()
        await self.may_end.wait()
        return found


@pytest.fixture
async def lookups(transactional_db):
    thread = DatabaseThread("test-reads")
    yield Lookups(thread)
    await thread.close()


@pytest.fixture
def seconds() -> list[float]:
    """The ring's clock, to be moved."""
    return [0.0]


@pytest.fixture
def ring(lookups, seconds) -> KeyRing:
    return KeyRing(lookups.run, lambda: seconds[0])


async def is_refused(ring: KeyRing, secret: str) -> bool:
    try:
        await ring.caller(secret)
    except AuthenticationFailed:
        return True
    return False


# -- What it costs ---------------------------------------------------------------------


async def test_a_key_costs_one_query_and_then_none(ring, lookups):
    user = await sync_to_async(make_user)()
    team = await sync_to_async(make_team)(user)
    fields = {"team": team, "scopes": ["inference"], "max_concurrent": 3}
    key, secret = await new_key(user, allowed_models=["llama"], **fields)

    callers = [await ring.caller(secret) for _ in range(10)]

    assert lookups.number == 1
    [caller] = set(callers)
    assert (caller.user_id, caller.key_id, caller.team_id) == (user.pk, key.pk, team.pk)
    assert (caller.face, caller.identity) == ("api", f"key:{key.pk}")
    assert caller.allowed_models == {"llama"}
    assert (caller.scopes, caller.max_concurrent) == ({"inference"}, 3)


async def test_a_hundred_at_once_share_one_query(ring, lookups):
    _, secret = await new_key()

    callers = await asyncio.gather(*(ring.caller(secret) for _ in range(100)))

    assert lookups.number == 1
    assert len(set(callers)) == 1
    assert not ring._lookups


async def test_those_who_wait_do_not_lose_it_when_the_first_leaves(ring, lookups):
    _, secret = await new_key()
    lookups.may_end.clear()
    first, second = [asyncio.create_task(ring.caller(secret)) for _ in range(2)]
    await asyncio.sleep(0)

    first.cancel()
    lookups.may_end.set()

    assert (await second).key_id
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_unknown_key_costs_one_query_in_five_seconds(ring, lookups, seconds):
    unknown = secrets.make_secret(secrets.API_KEY)

    assert all([await is_refused(ring, unknown) for _ in range(10)])
    assert lookups.number == 1
    seconds[0] += 5.0
    assert await is_refused(ring, unknown)
    assert lookups.number == 2


@pytest.mark.parametrize("change", ["checksum", "body", "length", "prefix", "kind"])
async def test_a_wrong_checksum_costs_no_query(ring, lookups, change):
    _, secret = await new_key()
    wrong = {
        "checksum": secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        "body": secret[:10] + ("a" if secret[10] != "a" else "b") + secret[11:],
        "length": secret + "a",
        "prefix": "sk-" + secret[3:],
        "kind": secrets.make_secret(secrets.WORKER_CREDENTIAL),
    }[change]

    assert await is_refused(ring, wrong)
    assert lookups.number == 0


async def test_keys_in_memory_are_bounded_and_the_least_used_goes(
    ring, lookups, monkeypatch
):
    monkeypatch.setattr(keyring_module, "MAX_KEYS", 2)
    first, second, third = [(await new_key())[1] for _ in range(3)]
    for secret in (first, second, first, third):  # the second is the least used
        await ring.caller(secret)

    assert len(ring._known) == 2
    number = lookups.number
    await ring.caller(first)
    assert lookups.number == number
    await ring.caller(second)
    assert lookups.number == number + 1


async def test_unknown_digests_are_bounded(ring, monkeypatch):
    monkeypatch.setattr(keyring_module, "MAX_UNKNOWN", 3)
    for _ in range(10):
        assert await is_refused(ring, secrets.make_secret(secrets.API_KEY))

    assert len(ring._unknown) == 3


# -- How long it holds -----------------------------------------------------------------


async def test_a_revoked_key_is_refused_once_the_ring_forgets(ring):
    key, secret = await new_key()
    await ring.caller(secret)
    await sync_to_async(key.revoke)()

    ring.forget()

    assert await is_refused(ring, secret)


async def test_a_new_key_is_taken_though_its_digest_was_refused(ring):
    key, secret = await new_key()
    await ApiKey.objects.filter(pk=key.pk).aupdate(digest="other")
    assert await is_refused(ring, secret)
    await ApiKey.objects.filter(pk=key.pk).aupdate(digest=key.digest)

    ring.forget()  # as issuing a key announces

    assert not await is_refused(ring, secret)


async def test_a_key_expires_by_the_clock_though_it_is_in_memory(ring, monkeypatch):
    expires_at = timezone.now() + timedelta(hours=1)
    _, secret = await new_key(expires_at=expires_at)
    assert not await is_refused(ring, secret)

    monkeypatch.setattr(keyring_module, "now", lambda: expires_at)

    assert await is_refused(ring, secret)


async def test_what_was_read_before_a_change_is_not_remembered_after_it(ring, lookups):
    key, secret = await new_key()
    lookups.may_end.clear()
    reading = asyncio.create_task(ring.caller(secret))
    await lookups.has_read.wait()
    await sync_to_async(key.revoke)()

    ring.forget()
    lookups.may_end.set()
    await asyncio.wait([reading])

    assert await is_refused(ring, secret)
    assert not ring._known


@pytest.mark.parametrize("name", ["user__is_active", "revoked_at", "expires_at"])
def test_only_an_active_key_is_found(db, name):
    key, secret = make_key()
    digest = secrets.digest(secret)
    assert find_key(digest).caller.key_id == key.pk

    if name == "user__is_active":
        type(key.user).objects.update(is_active=False)
    else:
        ApiKey.objects.update(**{name: timezone.now() - timedelta(seconds=1)})

    assert find_key(digest) is None


def test_a_key_is_found_by_all_of_it_and_not_by_its_beginning(db):
    _, secret = make_key()
    beginning = secret[:40]
    twin = beginning + "0" * (len(secret) - 46)
    twin += secrets._checksum(twin)

    assert secrets.has_right_checksum(twin, secrets.API_KEY)
    assert find_key(secrets.digest(twin)) is None


# -- A database that fails -------------------------------------------------------------


@pytest.mark.parametrize("error", [OperationalError("down"), InterfaceError("closed")])
async def test_known_keys_go_on_while_the_database_fails(ring, lookups, error):
    _, known = await new_key()
    _, not_yet_known = await new_key()
    await ring.caller(known)

    lookups.error = error

    assert not await is_refused(ring, known)
    with pytest.raises(StoreUnavailable) as caught:
        await ring.caller(not_yet_known)
    assert caught.value.status == 503
    lookups.error = None
    assert not await is_refused(ring, not_yet_known)  # the failure is not remembered


# -- What is said and noted ------------------------------------------------------------


async def test_a_refusal_shows_the_beginning_of_our_own_keys_only(ring):
    unknown = secrets.make_secret(secrets.API_KEY)
    for secret, shown in ((unknown, unknown[:11]), ("sk-their-own-secret", None)):
        with pytest.raises(AuthenticationFailed) as caught:
            await ring.caller(secret)

        assert secret not in caught.value.message
        assert secret[3:12] not in caught.value.message
        assert shown is None or shown in caught.value.message


async def test_use_is_noted_once_for_each_key(ring):
    key, secret = await new_key()
    for _ in range(5):
        await ring.caller(secret)

    used = ring.take_used()
    await sync_to_async(write_last_used)(used)

    assert used.digests == (key.digest,)
    assert (await ApiKey.objects.aget(pk=key.pk)).last_used_at == used.at
    assert ring.take_used().digests == ()


# -- What unknown and ended keys cost --------------------------------------------------


@pytest.mark.parametrize("kind", ["unknown", "revoked", "expired", "owner left"])
async def test_a_key_that_opens_nothing_costs_the_same_whatever_it_was(
    ring, lookups, kind
):
    key, secret = await new_key()
    ended = timezone.now() - timedelta(seconds=1)
    match kind:
        case "unknown":
            secret = secrets.make_secret(secrets.API_KEY)
        case "revoked":
            await sync_to_async(key.revoke)()
        case "expired":
            await ApiKey.objects.filter(pk=key.pk).aupdate(expires_at=ended)
        case "owner left":
            await type(key.user).objects.filter(pk=key.user_id).aupdate(is_active=False)

    refusals = []
    for _ in range(3):
        with pytest.raises(AuthenticationFailed) as caught:
            await ring.caller(secret)
        refusals.append(caught.value.message.replace(secrets.shown_part(secret), ""))

    assert lookups.number == 1
    assert set(refusals) == {
        "Incorrect API key provided (…). You can make one on the page of your account,"
        " or ask the operator of this site."
    }


STRANGE = {
    "SQL": "' OR 1=1; DROP TABLE controller_apikey; --",
    "NUL": "sy-\0" + "a" * 48,
    "a megabyte": "sy-" + "a" * 2**20,
    "not ASCII": "sy-é" + "ü" * 48,
    "nothing but a prefix": "sy-",
    "empty": "",
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
async def test_strange_keys_are_refused_without_a_query(ring, lookups, strange):
    ring.forget(imported=frozenset({"a digest"}))  # even where others are looked at

    with pytest.raises(AuthenticationFailed) as caught:
        await ring.caller(strange)

    assert lookups.number == 0
    assert len(caught.value.message) < 200


# -- Two secrets of one key ------------------------------------------------------------


async def test_both_secrets_open_the_key_until_the_overlap_ends(ring, monkeypatch):
    key, old = await new_key()
    new = await sync_to_async(key.rotate)(timedelta(hours=1))

    assert (await ring.caller(old)).key_id == (await ring.caller(new)).key_id == key.pk

    monkeypatch.setattr(
        keyring_module, "now", lambda: timezone.now() + timedelta(hours=1)
    )
    assert await is_refused(ring, old)
    assert not await is_refused(ring, new)


async def test_an_overlap_does_not_outlive_the_key(ring, monkeypatch):
    expires_at = timezone.now() + timedelta(minutes=10)
    key, old = await new_key(expires_at=expires_at)
    await sync_to_async(key.rotate)(timedelta(hours=1))
    assert not await is_refused(ring, old)

    monkeypatch.setattr(keyring_module, "now", lambda: expires_at)

    assert await is_refused(ring, old)


async def test_the_use_of_each_secret_is_noted_by_itself(ring):
    key, old = await new_key()
    await ring.caller(old)
    before = ring.take_used()
    new = await sync_to_async(key.rotate)(timedelta(hours=1))
    # Written only now: it was the old secret's use all the same.
    await sync_to_async(write_last_used)(before)

    await key.arefresh_from_db()
    assert (key.previous_last_used_at, key.last_used_at) == (before.at, None)
    await ring.caller(new)
    after = ring.take_used()
    await sync_to_async(write_last_used)(after)
    await key.arefresh_from_db()
    assert (key.previous_last_used_at, key.last_used_at) == (before.at, after.at)


async def test_an_ended_overlap_and_a_revoked_key_refuse_the_old_secret(ring):
    ended, ended_old = await new_key()
    await sync_to_async(ended.rotate)(timedelta(hours=1))
    await sync_to_async(ended.end_overlap)()
    revoked, revoked_old = await new_key()
    revoked_new = await sync_to_async(revoked.rotate)(timedelta(hours=1))
    await sync_to_async(revoked.revoke)()

    for secret in (ended_old, revoked_old, revoked_new):
        assert await is_refused(ring, secret)


# -- Keys that were made elsewhere -----------------------------------------------------


@pytest.fixture
async def foreign(transactional_db) -> str:
    user = await sync_to_async(make_user)()
    await sync_to_async(import_keys)(user, ["fastchat-key-1"])
    return "fastchat-key-1"


async def test_an_imported_key_opens_and_a_wrong_guess_costs_no_query(
    ring, lookups, foreign
):
    ring.forget(await sync_to_async(imported_digests)())

    assert (await ring.caller(foreign)).scopes == {"inference"}
    assert lookups.number == 1
    for guess in ("fastchat-key-2", "", "fastchat-key-1 ", "é" * 300):
        assert await is_refused(ring, guess)
    assert lookups.number == 1


async def test_an_imported_key_is_refused_once_it_is_revoked(ring, lookups, foreign):
    await sync_to_async((await ApiKey.objects.select_related("user").aget()).revoke)()

    ring.forget(await sync_to_async(imported_digests)())

    assert await is_refused(ring, foreign)
    assert lookups.number == 0


async def test_a_rotated_imported_key_has_both_secrets_in_its_overlap(ring, foreign):
    key = await ApiKey.objects.select_related("user").aget()
    new = await sync_to_async(key.rotate)(timedelta(hours=1))

    ring.forget(await sync_to_async(imported_digests)())

    assert new.startswith("sy-")
    assert not await is_refused(ring, foreign)
    assert not await is_refused(ring, new)


async def test_two_rotations_at_once_both_give_a_secret_that_works(ring):
    key, first = await new_key()
    stale = await ApiKey.objects.aget(pk=key.pk)  # as a second click reads it

    secret = await sync_to_async(key.rotate)(timedelta(hours=1))
    later = await sync_to_async(stale.rotate)(timedelta(hours=1))

    assert not await is_refused(ring, secret)
    assert not await is_refused(ring, later)
    assert await is_refused(ring, first)


def test_a_look_up_reads_by_indexes_also_once_the_database_knows_its_sizes(db):
    user = make_user()
    for number in range(200):
        make_key(user, revoked_at=timezone.now() if number % 2 else None)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")

    plan = ApiKey.objects.active().opened_by("digest").explain()

    assert "SCAN controller_apikey" not in plan
    assert "Seq Scan on controller_apikey" not in plan
