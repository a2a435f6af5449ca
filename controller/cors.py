"""The rows of CORS in memory, found by a request's origin without a query."""

from collections.abc import Iterable
from dataclasses import dataclass

from controller.identity.origins import EVERYONE, with_star
from controller.models import AllowedOrigin


@dataclass(frozen=True, slots=True)
class OriginRule:
    pattern: str
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    allows_credentials: bool = False


class OriginRules:
    """All rules; of several that fit an origin the narrowest holds."""

    def __init__(self, rules: Iterable[OriginRule] = ()) -> None:
        self._by_pattern = {rule.pattern: rule for rule in rules}

    def __bool__(self) -> bool:
        return bool(self._by_pattern)

    def find(self, origin: str) -> OriginRule | None:
        """The rule for this origin: its own, that of its parent's star, or `*`."""
        rules = self._by_pattern
        return (
            rules.get(origin) or rules.get(with_star(origin)) or rules.get(EVERYONE)
            if "*" not in origin  # a pattern is no origin
            else None
        )


def load_origin_rules() -> OriginRules:
    """What the rows say. One query."""
    return OriginRules(
        OriginRule(
            row.pattern, tuple(row.methods), tuple(row.headers), row.allows_credentials
        )
        for row in AllowedOrigin.objects.all()
    )
