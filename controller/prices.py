"""What tokens cost, in whole numbers: sums of many small costs stay exact."""

import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

# A price of 0.000001 for a million tokens is one of these for a token.
PICOS = 10**12
# Sums of money are kept in billionths: they fit a 64-bit column up to nine billion.
NANOS = 10**9
PICOS_PER_NANO = PICOS // NANOS
TOKENS_PRICED = 10**6


@dataclass(frozen=True, slots=True)
class Prices:
    """Of one token each, in picos of the site's currency."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    @classmethod
    def per_million(cls, prompt: Decimal, cached: Decimal, completion: Decimal) -> Self:
        """The prices that are written for a million tokens, six decimals at most."""
        return cls(
            *(int(price * TOKENS_PRICED) for price in (prompt, cached, completion))
        )

    def cost_nanos(self, prompt: int, completion: int, cached: int = 0) -> int:
        """What these tokens cost, rounded up; `cached` of the prompt's were cached."""
        picos = (
            (prompt - cached) * self.prompt
            + cached * self.cached
            + completion * self.completion
        )
        return -(-picos // PICOS_PER_NANO)

    def completions_for(self, nanos: int) -> int:
        """How many completion tokens so much money buys."""
        if not self.completion:
            return sys.maxsize
        return nanos * PICOS_PER_NANO // self.completion


FREE = Prices()


def in_words(amount: Decimal) -> str:
    """So much money with its cents. Less than one is shown to the millionth, which
    answers cost, but no longer than it must."""
    exact, rounded = f"{amount:.6f}".rstrip("0"), f"{amount:,.2f}"
    return exact if amount < 1 and len(exact) > len(rounded) else rounded
