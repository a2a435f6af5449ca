"""Texts that people have written here, for a rule to be tried on before it is saved.

Apps that keep such texts register where to find them; this one keeps none.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt or an answer, and whose it is."""

    user_id: int
    username: str
    is_prompt: bool
    model: str
    text: str
    written_at: datetime


Source = Callable[[datetime, int], Iterable[Sample]]
"""The texts since then, the latest first, at most so many."""

_sources: dict[str, Source] = {}


def register(face: str, source: Source) -> None:
    """Have the texts of this face found here."""
    _sources[face] = source


def faces() -> list[str]:
    """Those whose texts are kept."""
    return list(_sources)


def recent(faces: Iterable[str], since: datetime, most: int) -> Iterator[Sample]:
    """The texts of these faces since then, at most so many of each; empty is all
    faces."""
    wanted = frozenset(faces)
    for face, source in _sources.items():
        if not wanted or face in wanted:
            yield from source(since, most)
