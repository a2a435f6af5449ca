"""What those who follow an answer in progress are told of it, piece by piece."""

from dataclasses import dataclass

from controller.fleet.line import Place


@dataclass(frozen=True, slots=True)
class Delta:
    """New text, and how many characters (code points) of the answer came before it."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """New text of the reasoning before the answer, and how much came before it."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class ThoughtFor:
    """The reasoning is over, after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """The answer's place in line for a worker; None: it waits no more."""

    place: Place | None


@dataclass(frozen=True, slots=True)
class Pause:
    """The answer's worker broke off and another is to go on, or by now does."""

    is_over: bool


News = Delta | Thought | ThoughtFor | Waiting | Pause
