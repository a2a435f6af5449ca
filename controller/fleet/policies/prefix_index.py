"""Which engines have read which beginnings of prompts: a bounded memory."""

from collections import OrderedDict
from collections.abc import Sequence

# The latest are remembered: enough to choose from, for a prompt that all share too.
MAX_HOLDERS = 16

Holders = tuple[str, ...]
"""Engine starts, the latest last."""


class PrefixIndex:
    """Blocks of prompts, each with the engine starts that were sent it.

    A block stands for itself and all before it (it is a hash chain), so what an
    engine holds is told by the last block that is known of it. The least recently
    used blocks go first, of one prompt from its end on, as engines do it too.
    """

    def __init__(self, max_blocks: int) -> None:
        self._max_blocks = max_blocks
        self._blocks: OrderedDict[int, Holders] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def depths(self, chain: Sequence[int]) -> dict[str, int]:
        """How many leading blocks of this prompt each engine start holds, if any."""
        segments: list[tuple[Holders, int]] = []
        last: Holders | None = None
        at = 0
        for at, block in enumerate(chain):
            holders = self._blocks.get(block)
            if holders is not last:
                if last is not None:
                    segments.append((last, at))
                last = holders
            if holders is None:
                break
        if last is not None:
            segments.append((last, at + 1))
        return {start: end for holders, end in segments for start in holders}

    def note(self, chain: Sequence[int], start_id: str) -> None:
        """This engine start has read the prompt, or will have in a moment."""
        blocks = self._blocks
        before: Holders | None = None
        after: Holders = ()
        for block in reversed(chain[: self._max_blocks]):
            holders = blocks.get(block, ())
            if holders is not before:  # long runs of blocks share one tuple
                before, after = holders, _with(holders, start_id)
            blocks[block] = after
            blocks.move_to_end(block)
        while len(blocks) > self._max_blocks:
            blocks.popitem(last=False)


def _with(holders: Holders, start_id: str) -> Holders:
    if holders and holders[-1] == start_id:
        return holders
    others = [each for each in holders if each != start_id]
    return (*others[-MAX_HOLDERS + 1 :], start_id)
