"""What those who use models are called where their sums are shown."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Value
from django.db.models.functions import Concat

# What a key is called where there are other people's too, who name theirs alike.
OWNED_KEY = Concat("user__username", Value(" · "), "name")


class Names:
    """Of the rows of a table, in a column or by an expression; without a table what
    bears its name itself, as models do."""

    def __init__(self, table: Any = None, column: Any = "") -> None:
        self._table = table
        self._column = column

    def of(self, kinds: Iterable[Any]) -> dict[Any, str]:
        """The name of each; "" for nothing, and the number of what was deleted. At most
        one query."""
        if self._table is None:
            return {kind: kind or "" for kind in kinds}
        ids = [kind for kind in kinds if kind is not None]
        rows = self._table.objects.filter(pk__in=ids)
        known = dict(rows.values_list("pk", self._column))
        return {
            kind: "" if kind is None else known.get(kind, f"#{kind}") for kind in kinds
        }
