"""Why this worker? What one request's choices were made by, and how each try ended.

On the request's way only references to what was computed anyway are kept; words are
made of them when the ledger's batch is written, or when an operator asks.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from controller.fleet.loads import Slot

MAX_TRIES = 8
MAX_CANDIDATES = 8
MAX_FAILURE_CHARS = 200
MAX_HEADER_BYTES = 4000  # what proxies commonly take for one header

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Try:
    """One choice of a worker, and what came of it."""

    slot: Slot
    failure: str = ""

    def as_dict(self) -> dict[str, Any]:
        slot, choice = self.slot, self.slot.choice
        shown: dict[str, Any] = {
            "worker": slot.worker.address,
            "policy": slot.policy_name,
            "reason": choice.reason,
            "candidates": slot.num_candidates,
        }
        if slot.is_last_resort:
            shown["last_resort"] = True
        if slot.is_canary:
            shown["canary"] = True
        if choice.cached_tokens:
            shown["cached_tokens"] = choice.cached_tokens
        if choice.scores and slot.num_candidates > 1:
            shown["scores"] = self._best()
        if self.failure:
            shown["failure"] = self.failure[:MAX_FAILURE_CHARS]
        return shown

    def _best(self) -> list[list[Any]]:
        """(address, score) of the best that were compared; the least is the best.

        Of a large fleet some are drawn, the same one perhaps twice.
        """
        scores = {
            scored.worker.address: score for scored, score in self.slot.choice.scores
        }
        best = sorted(scores.items(), key=lambda item: item[1])[:MAX_CANDIDATES]
        return [[address, round(score, 3)] for address, score in best]


@dataclass(slots=True)
class Explanation:
    """All tries of one request, of which the first few are kept and all counted."""

    tries: list[Try] = field(default_factory=list)
    num_tries: int = 0
    fallback_from: str = ""
    """The model that was asked for, if its fallback was asked instead."""

    def chose(self, slot: Slot) -> None:
        self.num_tries += 1
        if len(self.tries) < MAX_TRIES:
            self.tries.append(Try(slot))
        else:  # the last one is how it ended
            self.tries[-1] = Try(slot)

    def failed(self, reason: object) -> None:
        """The worker that was chosen last has failed."""
        self.tries[-1].failure = str(reason)

    def as_dict(self) -> dict[str, Any]:
        tries = [each.as_dict() for each in self.tries]
        content: dict[str, Any] = {"tries": tries, "num_tries": self.num_tries}
        if self.fallback_from:
            content["fallback_from"] = self.fallback_from
        return content

    def as_json(self) -> str | None:
        """For the ledger; None where no worker was chosen."""
        is_told = self.tries or self.fallback_from
        return _encode(self.as_dict()).decode() if is_told else None

    def as_header(self) -> str:
        """Compact, in ASCII; the first tries' scores are left out if it is too long."""
        content = self.as_dict()
        header = _compact(content)
        for each in content["tries"]:
            if len(header) <= MAX_HEADER_BYTES:
                break
            each.pop("scores", None)
            header = _compact(content)
        if len(header) > MAX_HEADER_BYTES:
            return _compact({"num_tries": self.num_tries})
        return header


def _compact(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
