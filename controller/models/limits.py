"""Limits and budgets as rows, and how much of the budgets is spent."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Cast, Coalesce, Greatest
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller import prices
from controller.models.identity import ApiKey, Team
from controller.models.revision import Revision
from controller.prices import NANOS

# A process that has not reported its leases for so long is taken for dead.
LEASE_HOLDER_EXPIRY = timedelta(minutes=2)

MAX_MONEY = 10**9  # which fits 64 bits in billionths
MAX_COUNT = 10**12 - 1  # of requests or tokens, as many digits as the column has


class LimitQuerySet(models.QuerySet["Limit"]):
    def with_owners(self) -> Self:
        """With what `owner_name` reads, in the same query."""
        return self.select_related("key", "user", "team")


class Limit(models.Model):
    """What a key, a user, a team or everyone together may use, of one kind."""

    class Kind(models.TextChoices):
        REQUESTS_PER_MINUTE = "requests_per_minute", _("requests per minute")
        TOKENS_PER_MINUTE = "tokens_per_minute", _("tokens per minute")
        CONCURRENT = "concurrent", _("requests at once")
        TOKENS_PER_DAY = "tokens_per_day", _("tokens per day")
        TOKENS_PER_MONTH = "tokens_per_month", _("tokens per month")
        MONEY_PER_DAY = "money_per_day", _("money per day")
        MONEY_PER_MONTH = "money_per_month", _("money per month")

    BUDGETS = frozenset(
        {
            Kind.TOKENS_PER_DAY,
            Kind.TOKENS_PER_MONTH,
            Kind.MONEY_PER_DAY,
            Kind.MONEY_PER_MONTH,
        }
    )
    IN_MONEY = frozenset({Kind.MONEY_PER_DAY, Kind.MONEY_PER_MONTH})

    # At most one of the three; none of them: everyone together.
    key = models.ForeignKey(
        ApiKey, models.CASCADE, null=True, blank=True, related_name="limits"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="limits",
    )
    team = models.ForeignKey(
        Team, models.CASCADE, null=True, blank=True, related_name="limits"
    )
    kind = models.CharField(_("limits"), max_length=30, choices=Kind)
    amount = models.DecimalField(
        _("amount"), max_digits=18, decimal_places=6, validators=[MinValueValidator(0)]
    )
    created_at = models.DateTimeField(default=now, editable=False)

    objects = LimitQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(key=None, user=None)
                | Q(key=None, team=None)
                | Q(user=None, team=None),
                name="limit_has_one_owner",
            ),
            models.CheckConstraint(
                condition=Q(amount__gte=0), name="limit_not_negative"
            ),
            *(
                models.UniqueConstraint(
                    fields=[owner, "kind"],
                    condition=Q(**{f"{owner}__isnull": False}),
                    name=f"one_limit_of_a_kind_per_{owner}",
                )
                for owner in ("key", "user", "team")
            ),
            models.UniqueConstraint(
                fields=["kind"],
                condition=Q(key=None, user=None, team=None),
                name="one_limit_of_a_kind_for_everyone",
            ),
        ]

    def __str__(self) -> str:
        words = {"kind": self.get_kind_display(), "owner": self.owner_in_words}
        return str(_("%(kind)s of %(owner)s") % words)

    def clean(self) -> None:
        """Raise `ValidationError` for what no limit can be."""
        if sum(owner is not None for owner in (self.key, self.user, self.team)) > 1:
            raise ValidationError(
                _("A limit is for a key, a user or a team: choose one of them.")
            )
        if self.kind == self.Kind.CONCURRENT and self.key is not None:
            raise ValidationError(
                {"kind": _("A key's own requests at once are set on the key.")}
            )
        twins = (
            type(self)
            .objects.exclude(pk=self.pk)
            .filter(key=self.key, user=self.user, team=self.team, kind=self.kind)
        )
        if twins.exists():
            raise ValidationError(
                _("There is one already of this kind for this owner: change that.")
            )
        if self.amount is not None:
            self.check_amount(self.kind, self.amount)

    @classmethod
    def check_amount(cls, kind: str, amount: Decimal) -> None:
        """Raise `ValidationError` for what no limit of this kind can be."""
        if amount < 0:
            raise ValidationError({"amount": _("At least 0.")})
        most = MAX_MONEY if kind in cls.IN_MONEY else MAX_COUNT
        if amount > most:
            raise ValidationError(
                {"amount": _("At most %(most)s.") % {"most": f"{most:,}"}}
            )
        if kind not in cls.IN_MONEY and amount != int(amount):
            raise ValidationError({"amount": _("A whole number, please.")})

    @property
    def owner_name(self) -> str:
        """Whose it is, as refusals name it."""
        if self.key is not None:
            return f"key '{self.key.name}'"
        if self.user is not None:
            return f"user '{self.user}'"
        return f"team '{self.team}'" if self.team is not None else "everyone"

    @property
    def owner_in_words(self) -> str:
        """The same, as pages name it in the reader's language."""
        if self.key is not None:
            return str(_("key '%(name)s'") % {"name": self.key.name})
        if self.user is not None:
            return str(_("user '%(name)s'") % {"name": self.user})
        if self.team is not None:
            return str(_("team '%(name)s'") % {"name": self.team})
        return str(_("everyone"))

    @property
    def full_owner_in_words(self) -> str:
        """The same; of a key with its holder, since people name theirs alike."""
        if self.key is None:
            return self.owner_in_words
        words = {"key": self.owner_in_words, "user": self.key.user}
        return str(_("%(key)s of user '%(user)s'") % words)

    @property
    def units(self) -> int:
        """The amount in whole numbers: billionths of money, or what is counted."""
        return int(self.amount * NANOS if self.kind in self.IN_MONEY else self.amount)

    def in_words(self, units: int) -> str:
        """So much of this kind: money with its cents, all else as whole numbers."""
        return self.units_in_words(self.kind, units)

    @classmethod
    def units_in_words(cls, kind: str, units: int) -> str:
        scale = NANOS if kind in cls.IN_MONEY else 1
        return cls.amount_in_words(kind, Decimal(units) / scale)

    @classmethod
    def amount_in_words(cls, kind: str, amount: Decimal) -> str:
        """The same of an amount as people write it."""
        if kind in cls.IN_MONEY:
            return prices.in_words(amount)
        return f"{int(amount):,}"

    @classmethod
    def put(
        cls,
        kind: str,
        amount: Decimal | int,
        *,
        key_id: int | None = None,
        user_id: int | None = None,
        team_id: int | None = None,
    ) -> "Limit":
        """Set the owner's limit of this kind; every web process learns of it.

        Raises `ValidationError` for what no limit can be: SQLite would keep it, and no
        process could read any limit again.
        """
        cls.check_amount(kind, Decimal(amount))
        owner: dict[str, Any] = {
            "key_id": key_id,
            "user_id": user_id,
            "team_id": team_id,
        }
        with transaction.atomic():
            limit, _is_new = cls.objects.update_or_create(
                kind=kind, **owner, defaults={"amount": amount}
            )
            Revision.bump("keys")
        return limit

    def change(self, amount: Decimal) -> bool:
        """Whether the limit was still there to be set; every web process learns of
        it."""
        with transaction.atomic():
            limit = type(self).objects.select_for_update().filter(pk=self.pk).first()
            if limit is None:
                return False
            limit.amount = amount
            limit.save(update_fields=["amount"])  # not update(): the audit log sees it
            Revision.bump("keys")
        return True

    def remove(self) -> None:
        """Lift the limit; every web process learns of it."""
        with transaction.atomic():
            self.delete()
            Revision.bump("keys")


class LimitRequestQuerySet(models.QuerySet["LimitRequest"]):
    def open(self) -> Self:
        """Requests that nobody has answered."""
        return self.filter(state=LimitRequest.State.OPEN)


class LimitRequest(models.Model):
    """A person's wish for more of a limit, and what an operator answered."""

    class State(models.TextChoices):
        OPEN = "open", _("open")
        APPROVED = "approved", _("approved")
        DENIED = "denied", _("denied")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="limit_requests"
    )
    limit = models.ForeignKey(
        Limit, models.SET_NULL, null=True, related_name="requests"
    )
    # Whose limit of which kind it was: they outlive it.
    owner_name = models.CharField(_("limit of"), max_length=200)
    kind = models.CharField(_("limits"), max_length=30, choices=Limit.Kind)
    amount = models.DecimalField(_("wished"), max_digits=18, decimal_places=6)
    reason = models.TextField(_("reason"), max_length=1000)
    state = models.CharField(
        _("state"), max_length=10, choices=State, default=State.OPEN
    )
    granted = models.DecimalField(
        _("granted"), max_digits=18, decimal_places=6, null=True
    )
    answer = models.TextField(_("answer"), max_length=1000, blank=True)
    created_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(
        _("asked"), default=now
    )
    decided_at = models.DateTimeField(_("decided"), null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("decided by"),
    )

    objects = LimitRequestQuerySet.as_manager()

    class Meta:
        verbose_name = _("request for more")
        verbose_name_plural = _("requests for more")
        # Those that wait first, then the latest answers.
        ordering = [F("decided_at").desc(nulls_first=True), "-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "limit"],
                condition=Q(state="open"),
                name="one_open_request_a_person_and_limit",
            ),
            models.CheckConstraint(
                condition=Q(state="open", decided_at=None)
                | Q(state__in=["approved", "denied"], decided_at__isnull=False),
                name="limit_request_is_open_until_decided",
            ),
        ]

    def __str__(self) -> str:
        words = _("%(kind)s of %(owner)s for %(user)s") % {
            "kind": self.get_kind_display(),
            "owner": self.owner_in_words,
            "user": self.user,
        }
        return str(words)

    @property
    def owner_in_words(self) -> str:
        """Whose limit it is, in the reader's language; of one that was deleted, as it
        was called when it was asked for."""
        return self.limit.owner_in_words if self.limit else self.owner_name

    @property
    def is_open(self) -> bool:
        return self.state == self.State.OPEN

    @property
    def wished_in_words(self) -> str:
        return Limit.amount_in_words(self.kind, self.amount)

    @property
    def granted_in_words(self) -> str:
        """Empty where nothing was granted."""
        if self.granted is None:
            return ""
        return Limit.amount_in_words(self.kind, self.granted)


class SpendingQuerySet(models.QuerySet["Spending"]):
    def with_used(self) -> Self:
        """With what was `used`: `spent`, less what processes hold as leases.

        They say every half a minute what they hold, so it may be so much late. It is
        never too much.
        """
        # PostgreSQL's sums of big integers are decimals.
        leased = Cast(Coalesce(Sum("leases__unspent"), 0), models.BigIntegerField())
        return self.annotate(used=Greatest(F("spent") - leased, 0))


class Spending(models.Model):
    """How much of a budget is spent in a period; what is leased counts as spent."""

    limit = models.ForeignKey(Limit, models.CASCADE, related_name="spendings")
    period_start = models.DateField()
    spent = models.BigIntegerField(default=0)

    objects = SpendingQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["limit", "period_start"], name="one_spending_a_period"
            )
        ]

    def __str__(self) -> str:
        return f"{self.limit_id} from {self.period_start}"


class LeaseQuerySet(models.QuerySet["Lease"]):
    def orphaned(self) -> Self:
        """Leases whose holder has not been heard of: its process died."""
        return self.filter(reported_at__lt=now() - LEASE_HOLDER_EXPIRY)

    def living(self) -> Self:
        return self.filter(reported_at__gte=now() - LEASE_HOLDER_EXPIRY)


class Lease(models.Model):
    """What one web process has taken of a budget and not spent, as it last said."""

    spending = models.ForeignKey(Spending, models.CASCADE, related_name="leases")
    holder = models.CharField(max_length=32)
    unspent = models.BigIntegerField(default=0)
    reported_at: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(
        default=now
    )

    objects = LeaseQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["spending", "holder"], name="one_lease_a_holder"
            )
        ]
        indexes = [
            # the reconciliation looks for holders that fell silent
            models.Index(fields=["reported_at"], name="lease_by_report")
        ]

    def __str__(self) -> str:
        return f"{self.unspent} of {self.spending_id}, held by {self.holder}"
