"""What is deleted with age: one list of kinds of rows, for the purge and its preview.

Both read `Kind.due`, so what a preview counts is what a purge deletes. Apps add the
kinds of their own by `register`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from allauth.usersessions.models import UserSession
from auditlog.models import LogEntry
from django.conf import settings
from django.contrib.admin.models import LogEntry as HistoryEntry
from django.contrib.sessions.models import Session
from django.db.models import Exists, Min, OuterRef, Q, QuerySet
from django.utils.functional import Promise
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.guests.links import delete_guests, delete_links
from controller.ledger import rollups
from controller.models import (
    EngineStart,
    GuestLink,
    Invitation,
    JoinToken,
    LedgerEntry,
    LedgerHour,
    LimitRequest,
    ModerationFlag,
    ProcessHeard,
    UsageDay,
    UsageHour,
    User,
    WorkerSample,
)

# Small enough that a request's own row does not wait long for SQLite's one writer.
BATCH_SIZE = 5_000
# What a purge is called among the things that were heard to be done.
PURGE_OF = "purge of "


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows that are deleted alike."""

    name: str
    label: Promise
    setting: str
    """What says how long they are kept."""
    rows: Callable[[], QuerySet[Any]]
    before: Callable[[], datetime | None]
    """Older ones are due; None: they are kept for ever."""
    dated_by: str
    """The field that has their age."""
    due_when: Callable[[datetime], Q] | None = None
    """Which are due at that moment, where their age alone does not say it."""
    prepare: Callable[[], Any] | None = None
    """What must be done before rows go."""
    batch_size: int | None = None
    """Fewer than BATCH_SIZE, where much goes with each."""
    takes_oldest_first: bool = True
    """Whether an index by age finds them so."""
    delete: Callable[[QuerySet[Any]], Any] | None = None
    """How they go, where more is to be done than deleting the rows."""

    def due(self, before: datetime | None) -> QuerySet[Any]:
        """The rows that `before` leaves no time."""
        if before is None:
            return self.rows().none()
        is_due = self.due_when or self._is_older
        return self.rows().filter(is_due(before))

    def _is_older(self, before: datetime) -> Q:
        return Q(**{f"{self.dated_by}__lt": before})

    def purge(self) -> int:
        """How many rows were deleted now, a batch at a time."""
        before = self.before()
        if self.prepare is not None:
            self.prepare()
        num_purged = sum(self._purge_batches(before))
        ProcessHeard.report(PURGE_OF + self.name)
        return num_purged

    def _purge_batches(self, before: datetime | None) -> Iterator[int]:
        due = self.due(before).order_by()
        listed = due.order_by(self.dated_by) if self.takes_oldest_first else due
        size = self.batch_size or BATCH_SIZE
        while ids := list(listed.values_list("pk", flat=True)[:size]):
            # Asked again: what was brought back meanwhile stays.
            still_due = due.filter(pk__in=ids)
            still_due.delete() if self.delete is None else self.delete(still_due)
            yield len(ids)

    @property
    def setting_value(self) -> str:
        """As it is written in the environment."""
        value = getattr(settings, self.setting)
        number = value.total_seconds() if isinstance(value, timedelta) else value
        return f"{number:.15g}"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a purge of one kind would delete at this moment."""

    kind: Kind
    before: datetime | None
    num_rows: int
    num_due: int
    oldest: datetime | None
    """Of all rows, due or not."""
    most: int | None
    """Beyond this it was not counted."""

    @property
    def has_more_rows(self) -> bool:
        return self.most is not None and self.num_rows > self.most

    @property
    def has_more_due(self) -> bool:
        return self.most is not None and self.num_due > self.most


def preview(kind: Kind, most: int | None = None) -> Preview:
    """Three queries. With `most`, rows are counted up to one more than that."""
    before = kind.before()
    return Preview(
        kind=kind,
        before=before,
        num_rows=_count(kind.rows(), most),
        num_due=_count(kind.due(before), most),
        oldest=kind.rows().order_by().aggregate(oldest=Min(kind.dated_by))["oldest"],
        most=most,
    )


def _count(rows: QuerySet[Any], most: int | None) -> int:
    unordered = rows.order_by()
    if most is None:
        return unordered.count()
    return unordered.values("pk")[: most + 1].count()


_kinds: dict[str, Kind] = {}


def register(kinds: Iterable[Kind]) -> None:
    """Have rows of these kinds deleted with age, too."""
    for kind in kinds:
        _kinds[kind.name] = kind


def kinds() -> list[Kind]:
    return list(_kinds.values())


def purge(name: str) -> int:
    """How many rows of this kind were deleted."""
    return _kinds[name].purge()


def purged_at() -> dict[str, datetime]:
    """When each kind was last purged, by its name. One query."""
    purges = ProcessHeard.objects.filter(name__startswith=PURGE_OF)
    return {
        name.removeprefix(PURGE_OF): heard_at
        for name, heard_at in purges.values_list("name", "heard_at")
    }


# -- the controller's own kinds -------------------------------------------------------


def days_of(setting: str) -> Callable[[], datetime | None]:
    """The moment so many days ago as the setting says now; None for 0 of them."""

    def before() -> datetime | None:
        days = getattr(settings, setting)
        return now() - timedelta(days=days) if days else None

    return before


def ended(before: datetime) -> Q:
    """Whose end was set, or came by a revocation, before then."""
    return Q(expires_at__lt=before) | Q(revoked_at__lt=before)


def _ended_tokens(before: datetime) -> Q:
    """Not those by which a worker joined: its row tells of them."""
    is_spent = Q(is_reusable=False, used_at__lt=before)
    return (ended(before) | is_spent) & Q(workers=None)


def _ended_invitations(before: datetime) -> Q:
    return Q(expires_at__lt=before) | Q(accepted_at__lt=before)


def _of_ended_links(before: datetime) -> Q:
    has_expired = Q(guest_link__expires_at__lt=before)
    return has_expired | Q(guest_link__revoked_at__lt=before)


def _left_links(before: datetime) -> Q:
    """Not those whose guests are still there."""
    return ended(before) & Q(guests=None)


def _signed_out(before: datetime) -> Q:
    """Devices whose session has ended."""
    live = Session.objects.filter(
        session_key=OuterRef("session_key"), expire_date__gte=before
    )
    return ~Q(Exists(live))


register(
    [
        Kind(
            name="ledger entries",
            label=_("ledger entries"),
            setting="LEDGER_RETENTION_DAYS",
            rows=LedgerEntry.objects.all,
            before=rollups.rows_kept_since,
            dated_by="created_at",
            prepare=rollups.roll_up,
        ),
        Kind(
            name="engine starts",
            label=_("engine starts"),
            setting="LEDGER_RETENTION_DAYS",
            rows=EngineStart.objects.all,
            before=rollups.rows_kept_since,
            dated_by="last_heard_at",
        ),
        Kind(
            name="usage by hour",
            label=_("usage by hour"),
            setting="USAGE_HOURLY_RETENTION_DAYS",
            rows=UsageHour.objects.all,
            before=rollups.hours_kept_since,
            dated_by="begins_at",
        ),
        Kind(
            name="hours of the ledger",
            label=_("hours of the ledger"),
            setting="USAGE_HOURLY_RETENTION_DAYS",
            rows=LedgerHour.objects.all,
            before=rollups.hours_kept_since,
            dated_by="begins_at",
        ),
        Kind(
            name="usage by day",
            label=_("usage by day"),
            setting="USAGE_DAILY_RETENTION_DAYS",
            rows=UsageDay.objects.all,
            before=days_of("USAGE_DAILY_RETENTION_DAYS"),
            dated_by="begins_at",
        ),
        Kind(
            name="worker samples",
            label=_("samples of workers"),
            setting="WORKER_SAMPLES_RETENTION_DAYS",
            rows=WorkerSample.objects.all,
            before=days_of("WORKER_SAMPLES_RETENTION_DAYS"),
            dated_by="taken_at",
        ),
        Kind(
            name="moderation flags",
            label=_("moderation flags"),
            setting="MODERATION_RETENTION_DAYS",
            rows=ModerationFlag.objects.all,
            before=days_of("MODERATION_RETENTION_DAYS"),
            dated_by="created_at",
        ),
        Kind(
            name="audit log",
            label=_("entries of the audit log"),
            setting="AUDIT_RETENTION_DAYS",
            rows=LogEntry.objects.all,
            before=days_of("AUDIT_RETENTION_DAYS"),
            dated_by="timestamp",
        ),
        Kind(
            name="console history",
            label=_("histories of rows in the console"),
            setting="AUDIT_RETENTION_DAYS",
            rows=HistoryEntry.objects.all,
            before=days_of("AUDIT_RETENTION_DAYS"),
            dated_by="action_time",
            takes_oldest_first=False,
        ),
        Kind(
            name="invitations",
            label=_("invitations that ended"),
            setting="ENDED_RETENTION_DAYS",
            rows=Invitation.objects.all,
            before=days_of("ENDED_RETENTION_DAYS"),
            dated_by="created_at",
            due_when=_ended_invitations,
            takes_oldest_first=False,
        ),
        Kind(
            name="join tokens",
            label=_("join tokens that ended"),
            setting="ENDED_RETENTION_DAYS",
            rows=JoinToken.objects.all,
            before=days_of("ENDED_RETENTION_DAYS"),
            dated_by="created_at",
            due_when=_ended_tokens,
            takes_oldest_first=False,
        ),
        Kind(
            name="guests",
            label=_("guests whose link ended, with their conversations"),
            setting="GUEST_RETENTION_DAYS",
            rows=lambda: User.objects.exclude(guest_link=None),
            before=days_of("GUEST_RETENTION_DAYS"),
            dated_by="date_joined",
            due_when=_of_ended_links,
            batch_size=20,  # each goes with all their conversations
            takes_oldest_first=False,
            delete=delete_guests,
        ),
        Kind(
            name="guest links",
            label=_("guest links that ended"),
            setting="ENDED_RETENTION_DAYS",
            rows=GuestLink.objects.all,
            before=days_of("ENDED_RETENTION_DAYS"),
            dated_by="created_at",
            due_when=_left_links,
            takes_oldest_first=False,
            delete=delete_links,
        ),
        Kind(
            name="requests for more",
            label=_("requests for more that were decided"),
            setting="ENDED_RETENTION_DAYS",
            rows=LimitRequest.objects.all,
            before=days_of("ENDED_RETENTION_DAYS"),
            dated_by="created_at",
            due_when=lambda before: Q(decided_at__lt=before),
            takes_oldest_first=False,
        ),
        Kind(
            name="sessions",
            label=_("sign-in sessions, dated by their end"),
            setting="SESSION_COOKIE_AGE",
            rows=Session.objects.all,
            before=now,
            dated_by="expire_date",
        ),
        Kind(
            name="devices",
            label=_("devices that are signed out"),
            setting="SESSION_COOKIE_AGE",
            rows=UserSession.objects.all,
            before=now,
            dated_by="created_at",
            due_when=_signed_out,
            takes_oldest_first=False,
        ),
    ]
)
