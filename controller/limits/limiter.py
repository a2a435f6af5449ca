"""All limits of one web process: reserved from here, and told where one stands."""

import logging
from typing import Protocol

from django.db import Error as DatabaseError

from controller.fleet.snapshot import ModelView
from controller.fleet.wishes import Wish
from controller.identity.caller import Caller
from controller.ledger.queue import FinishedRequest
from controller.limits.book import Kind, LimitBook, LimitView
from controller.limits.budgets import BudgetMeter
from controller.limits.demand import Demand, PromptRatios, demand_of
from controller.limits.leases import LeaseStore
from controller.limits.places import OwnPlaces, Places
from controller.limits.rates import ConcurrencyMeter, RateMeter, headers_of
from controller.limits.reservation import (
    UNLIMITED,
    BudgetHold,
    Reservation,
)
from controller.limits.shared_places import SharedPlaces
from controller.limits.shared_rates import SharedBucket
from controller.limits.sharing import Sharing
from controller.limits.windows import Bucket
from controller.relay.request import InferenceRequest

logger = logging.getLogger(__name__)

MAX_CALLERS = 100_000
# A budget that cannot pay so much of an answer refuses it: a few words are no answer.
LEAST_COMPLETION = 16


class Asked(Protocol):
    """A request that is about to be sent."""

    caller: Caller
    request: InferenceRequest
    model: ModelView
    wish: Wish


class Meters:
    """The meters that bind one caller."""

    __slots__ = ("budgets", "places", "requests", "tokens")

    def __init__(self) -> None:
        self.places: list[ConcurrencyMeter] = []
        self.requests: list[RateMeter] = []
        self.tokens: list[RateMeter] = []
        self.budgets: list[BudgetMeter] = []

    def __bool__(self) -> bool:
        return bool(self.places or self.requests or self.tokens or self.budgets)


Meter = ConcurrencyMeter | RateMeter | BudgetMeter


class Limiter:
    """What callers may still use. Lives on one event loop."""

    def __init__(self, store: LeaseStore, sharing: Sharing | None = None) -> None:
        self._store = store
        self._sharing = sharing
        self._book = LimitBook()
        self._meters: dict[int, Meter] = {}
        self._own: dict[str, ConcurrencyMeter] = {}
        """Of callers whose credential itself bounds their requests at once."""
        self._callers: dict[tuple[object, ...], Meters] = {}
        self._ratios = PromptRatios()

    def adopt(self, book: LimitBook) -> None:
        """Take over what the rows say; what is used already stays used."""
        known = {limit.id: limit for limit in book}
        for limit_id, meter in list(self._meters.items()):
            limit = known.get(limit_id)
            if limit is None:
                del self._meters[limit_id]
            elif isinstance(meter, BudgetMeter):
                meter.limit = limit
            else:
                meter.adopt(limit)
        self._book = book
        self._forget_callers()

    # -- requests --------------------------------------------------------------

    async def reserve(self, asked: Asked) -> Reservation:
        """What the request holds from now on. Its `max_tokens` is lowered to what the
        budgets can pay.

        Raises `RateLimited`, `QuotaSpent` or `BudgetUnavailable`, and holds nothing
        then. No query, but for a new lease of a budget.
        """
        meters = self._meters_of(asked.caller)
        if not meters:
            return UNLIMITED
        reservation = Reservation(self._demand(asked, meters), asked.model.prices)
        try:
            await _hold_rates(meters, reservation)
            if meters.budgets:
                await _hold_budgets(meters, reservation, asked.request)
        except BaseException:
            reservation.cancel()
            raise
        return reservation

    def _demand(self, asked: Asked, meters: Meters) -> Demand:
        if not meters.tokens and not meters.budgets:
            return Demand(0)  # nobody asks
        prompt = self._ratios.reserve_for(asked.model.name, asked.wish.prompt_tokens)
        return demand_of(asked.request, asked.model, prompt)

    def settle(
        self, reservation: Reservation, asked: Asked, finished: FinishedRequest
    ) -> None:
        """Count what the request has used, and learn how long prompts are."""
        if reservation is UNLIMITED:
            return
        reservation.settle(finished)
        if not finished.tokens_estimated:
            self._ratios.learn(
                asked.model.name, asked.wish.prompt_tokens, finished.prompt_tokens
            )

    # -- the stores ------------------------------------------------------------

    async def report(self) -> None:
        """Tell the store what each budget's lease is worth. Call it now and then."""
        for meter in self._budgets():
            await meter.report()

    async def share(self) -> None:
        """Let other processes have what this one does not need of the rates. Call it
        several times a second."""
        for meter in list(self._meters.values()):
            if isinstance(meter, RateMeter) and isinstance(meter.bucket, SharedBucket):
                await meter.bucket.share()

    async def give_back(self) -> None:
        """Put back what is leased and not spent: this process ends."""
        for meter in self._budgets():
            try:
                await meter.give_back(meter.available)
            except DatabaseError as exc:
                logger.warning("a lease of the %s is not returned: %s", meter.name, exc)

    def _budgets(self) -> list[BudgetMeter]:
        return [each for each in self._meters.values() if isinstance(each, BudgetMeter)]

    # -- where one stands ------------------------------------------------------

    def headers(self, caller: Caller) -> list[tuple[bytes, bytes]]:
        """OpenAI's `x-ratelimit-*` headers; of several limits the one nearest to its
        end. Empty for what is not limited."""
        meters = self._meters_of(caller)
        return [
            *headers_of(b"requests", meters.requests),
            *headers_of(b"tokens", meters.tokens),
        ]

    def _meters_of(self, caller: Caller) -> Meters:
        owners = (caller.face, caller.key_id, caller.user_id, caller.team_id)
        known = self._callers.get(owners)
        if known is None:
            if len(self._callers) >= MAX_CALLERS:
                self._forget_callers()
            known = self._callers[owners] = self._new_meters(caller)
        return known

    def _forget_callers(self) -> None:
        self._callers.clear()
        self._own = {
            identity: meter
            for identity, meter in self._own.items()
            if meter.places.under_way
        }

    def _new_meters(self, caller: Caller) -> Meters:
        meters = Meters()
        if caller.max_concurrent is not None:
            meters.places.append(self._own_meter(caller, caller.max_concurrent))
        for limit in self._book.binding(caller):
            meter = self._meters.get(limit.id)
            if meter is None:
                meter = self._meters[limit.id] = self._new_meter(limit)
            if isinstance(meter, BudgetMeter):
                meters.budgets.append(meter)
            elif isinstance(meter, ConcurrencyMeter):
                meters.places.append(meter)
            elif limit.kind == Kind.REQUESTS_PER_MINUTE:
                meters.requests.append(meter)
            else:
                meters.tokens.append(meter)
        return meters

    def _new_meter(self, limit: LimitView) -> Meter:
        if limit.is_budget:
            return BudgetMeter(limit, self._store)
        if limit.kind == Kind.CONCURRENT:
            places = self._new_places(f"limit:{limit.id}", limit.amount)
            return ConcurrencyMeter(limit, places)
        return RateMeter(limit, self._new_bucket(limit))

    def _own_meter(self, caller: Caller, amount: int) -> ConcurrencyMeter:
        owner = "this key" if caller.key_id is not None else "guests"
        limit = LimitView(0, Kind.CONCURRENT, owner, amount)
        meter = self._own.get(caller.identity)
        if meter is None:
            places = self._new_places(caller.identity, amount)
            meter = self._own[caller.identity] = ConcurrencyMeter(limit, places)
        else:
            meter.adopt(limit)
        return meter

    def _new_places(self, name: str, amount: int) -> Places:
        if self._sharing is None:
            return OwnPlaces(amount)
        return SharedPlaces(name, amount, self._sharing.places)

    def _new_bucket(self, limit: LimitView) -> Bucket | SharedBucket:
        if self._sharing is None:
            return Bucket(limit.amount)
        return SharedBucket(limit.id, limit.amount, self._sharing.rates)


async def _hold_rates(meters: Meters, reservation: Reservation) -> None:
    for meter in meters.places:
        if not meter.places.enter_here():
            await meter.enter()
        reservation.places.append(meter.places)
    for rate in meters.requests:
        if not rate.bucket.take_here(1):
            await rate.take(1)
        reservation.requests.append(rate)
    for rate in meters.tokens:
        tokens = rate.bounded(reservation.demand.tokens)
        if not rate.bucket.take_here(tokens):
            await rate.take(tokens)
        reservation.tokens.append((rate, tokens))


async def _hold_budgets(
    meters: Meters, reservation: Reservation, request: InferenceRequest
) -> None:
    demand = reservation.demand
    is_short = False
    for meter in meters.budgets:
        hold = BudgetHold(meter, reservation.prices)
        reservation.budgets.append(hold)
        wanted = hold.units(demand.prompt, demand.completions)
        if not hold.take_here(wanted):
            least = min(demand.completion, LEAST_COMPLETION) * demand.choices
            await hold.take(hold.units(demand.prompt, least), wanted)
            is_short |= hold.amount < wanted
    if is_short and demand.choices:
        reservation.lower(request.body)
