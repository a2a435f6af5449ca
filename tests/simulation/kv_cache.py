"""An engine's KV cache: blocks by what they hold, the least recently used evicted."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class Hold:
    """What one request occupies."""

    num_hits: int
    """Leading blocks of its prompt that were there already."""
    num_private: int
    """Blocks that nobody else can find, yet."""
    shared: list[int] = field(default_factory=list)


class KVCache:
    def __init__(self, num_blocks: int) -> None:
        self._num_blocks = num_blocks
        self._users: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._num_private = 0

    @property
    def usage(self) -> float:
        """The part that running requests hold, as vLLM reports it."""
        return (len(self._users) + self._num_private) / self._num_blocks

    def take(self, prompt: Sequence[int], num_blocks: int) -> Hold | None:
        """Room for a request of so many blocks; None while there is none.

        `prompt` are the whole blocks of its prompt.
        """
        hits = self._hits(prompt)
        num_new = num_blocks - len(hits)
        num_woken = sum(block in self._idle for block in hits)
        in_use = len(self._users) + self._num_private
        if in_use + num_woken + num_new > self._num_blocks:
            return None
        for block in hits:
            self._use(block)
        while in_use + num_woken + num_new + len(self._idle) > self._num_blocks:
            self._idle.popitem(last=False)
        self._num_private += num_new
        return Hold(len(hits), num_new, hits)

    def publish(self, hold: Hold, blocks: Sequence[int]) -> None:
        """These leading blocks of the request are computed: others may find them."""
        for block in blocks[len(hold.shared) :]:
            if block not in self._users:
                self._num_private -= 1
                hold.num_private -= 1
            self._use(block)
            hold.shared.append(block)

    def give_back(self, hold: Hold) -> None:
        """The request has ended; what others may find stays until room is needed."""
        self._num_private -= hold.num_private
        for block in reversed(hold.shared):  # the end of a prompt is evicted first
            self._users[block] -= 1
            if not self._users[block]:
                del self._users[block]
                self._idle[block] = None

    def _hits(self, prompt: Sequence[int]) -> list[int]:
        hits = []
        for block in prompt:
            if block not in self._users and block not in self._idle:
                break
            hits.append(block)
        return hits

    def _use(self, block: int) -> None:
        self._idle.pop(block, None)
        self._users[block] = self._users.get(block, 0) + 1
