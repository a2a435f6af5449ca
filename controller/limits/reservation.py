"""What one request holds of every limit that binds it, until it ends."""

from typing import Any, Protocol

from controller.errors import BudgetUnavailable, QuotaSpent, SwitchyardError
from controller.ledger.queue import FinishedRequest
from controller.limits.budgets import BudgetMeter
from controller.limits.demand import SLICE_TOKENS, Demand, cap_completion
from controller.limits.periods import Period
from controller.limits.places import Places
from controller.limits.rates import RateMeter
from controller.prices import FREE, Prices


class Running(Protocol):
    """An answer under way."""

    @property
    def completion_tokens_so_far(self) -> int: ...

    def interrupt(self, error: SwitchyardError) -> None: ...


class BudgetHold:
    """An amount of one budget, in its units, with the period it came from."""

    __slots__ = ("amount", "lapsed", "meter", "period", "prices")

    def __init__(self, meter: BudgetMeter, prices: Prices) -> None:
        self.meter = meter
        self.period: Period = meter.period
        self.amount = 0
        self.lapsed = 0
        """Of the amount: from a period that was over before the request was. It stays
        spent there, and pays for as much of what the request uses."""
        self.prices = prices

    def units(self, prompt: int, completion: int) -> int:
        """What so many tokens come to."""
        if self.meter.is_in_money:
            return self.prices.cost_nanos(prompt, completion)
        return prompt + completion

    def affordable(self, prompt: int) -> int:
        """Completion tokens that the held amount pays for, beside the prompt."""
        rest = self.amount - self.units(prompt, 0)
        if not self.meter.is_in_money:
            return rest
        return self.prices.completions_for(rest)

    def take_here(self, wanted: int) -> bool:
        """Whether it was leased already."""
        if not self.meter.take_here(wanted):
            return False
        self._add(wanted)
        return True

    async def take(self, least: int, wanted: int) -> None:
        self._add(await self.meter.take(least, wanted))

    def _add(self, taken: int) -> None:
        if self.period is not self.meter.period:
            self.period, self.lapsed = self.meter.period, self.amount
        self.amount += taken

    def trim(self, needed: int) -> None:
        """Give back what is held beyond what is needed."""
        beyond = min(self.amount - needed, self.amount - self.lapsed)
        if beyond > 0:
            self.meter.settle(self.period, beyond, 0)
            self.amount -= beyond

    def settle(self, used: int) -> None:
        """Hold nothing any more, and count what was used."""
        held = self.amount - self.lapsed
        self.meter.settle(self.period, held, max(0, used - self.lapsed))
        self.amount = self.lapsed = 0


class Reservation:
    """Made by `Limiter.reserve`, settled exactly once, however the request ends."""

    __slots__ = (
        "_is_settled",
        "budgets",
        "demand",
        "places",
        "prices",
        "requests",
        "tokens",
    )

    def __init__(self, demand: Demand, prices: Prices = FREE) -> None:
        self.demand = demand
        self.prices = prices
        self.places: list[Places] = []
        self.requests: list[RateMeter] = []
        self.tokens: list[tuple[RateMeter, int]] = []
        self.budgets: list[BudgetHold] = []
        self._is_settled = False

    def reprice(self, prices: Prices) -> None:
        """Count by these prices from now on: another model is asked."""
        if self.budgets:
            self.prices = prices
        for hold in self.budgets:
            hold.prices = prices

    async def cover(self) -> None:
        """Hold what the demand comes to by the present prices, where that is more.

        Raises `QuotaSpent` or `BudgetUnavailable`.
        """
        for hold in self.budgets:
            missing = hold.units(self.demand.prompt, self.demand.completions)
            missing -= hold.amount
            if missing > 0:
                await hold.take(missing, missing)

    def lower(self, body: dict[str, Any]) -> None:
        """Make the answer as long as every budget pays for, and free what others hold
        for a longer one."""
        demand = self.demand
        rest = min(hold.affordable(demand.prompt) for hold in self.budgets)
        payable = rest // demand.choices
        if payable < demand.completion:
            demand.completion, demand.may_grow = payable, False
            cap_completion(body, payable)
            self._trim()

    @property
    def grows(self) -> bool:
        """Whether `grow` must be called while the answer runs."""
        return self.demand.may_grow and bool(self.budgets)

    async def grow(self, running: Running) -> None:
        """Hold another slice once the last is half used up; where no budget gives one,
        end the answer when it has used what it holds."""
        written = running.completion_tokens_so_far
        if self.demand.completions - written > SLICE_TOKENS // 2:
            return
        refusal = await self._hold_slice()
        if refusal is not None and written >= self.demand.completions:
            running.interrupt(refusal)

    async def _hold_slice(self) -> SwitchyardError | None:
        """What stood in the way, if anything did; then as much is held as before."""
        more = SLICE_TOKENS * self.demand.choices
        try:
            for hold in self.budgets:
                units = hold.units(0, more)
                await hold.take(units, units)
            self.demand.completion += SLICE_TOKENS
        except (QuotaSpent, BudgetUnavailable) as exc:
            self._trim()
            return exc
        finally:
            if self._is_settled:  # meanwhile: what came since is not used
                for hold in self.budgets:
                    hold.trim(0)
        return None

    def _trim(self) -> None:
        demand = self.demand
        for hold in self.budgets:
            hold.trim(hold.units(demand.prompt, demand.completions))

    def cancel(self) -> None:
        """Give everything back, the request's own count too: it was refused."""
        for meter in self.requests:
            meter.bucket.give(1)
        self._settle(0, 0)

    def settle(self, finished: FinishedRequest) -> None:
        """Count what the request has used, as the ledger has it. Idempotent."""
        tokens = finished.prompt_tokens + finished.completion_tokens
        self._settle(tokens, finished.cost_nanos)

    def _settle(self, tokens: int, cost_nanos: int) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        for place in self.places:
            place.leave()
        for meter, held in self.tokens:
            meter.bucket.give(held - tokens)
        for hold in self.budgets:
            hold.settle(cost_nanos if hold.meter.is_in_money else tokens)


UNLIMITED = Reservation(Demand(0))
"""Of requests that no limit binds: nothing to hold, nothing to settle."""
