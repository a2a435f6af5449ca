"""Places of an owner who may have so many requests under way at once."""

from typing import Protocol

from controller.limits.parts import own_part


class Places(Protocol):
    """Those that this process may fill. Who was let in leaves once."""

    def resize(self, amount: int) -> None:
        """There are so many from now on; who is in stays."""

    def enter_here(self) -> bool:
        """Whether one was free in this process, which then is taken."""

    async def enter(self) -> bool:
        """Whether one was free in any process, which then is taken."""

    def leave(self) -> None: ...

    @property
    def under_way(self) -> int: ...


class OwnPlaces:
    """A process's own part of the places, where processes cannot ask each other."""

    __slots__ = ("_most", "under_way")

    def __init__(self, amount: int) -> None:
        self.under_way = 0
        self._most = own_part(amount)

    def resize(self, amount: int) -> None:
        self._most = own_part(amount)

    def enter_here(self) -> bool:
        if self.under_way >= self._most:
            return False
        self.under_way += 1
        return True

    async def enter(self) -> bool:
        return self.enter_here()

    def leave(self) -> None:
        self.under_way -= 1
