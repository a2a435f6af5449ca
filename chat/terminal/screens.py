"""How answers are shown: Markdown that grows on a terminal, the bare text elsewhere."""

import sys
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment, Segments
from rich.text import Text

if sys.platform != "win32":
    import termios

REFRESHES_PER_SECOND = 8
WAITING = "…"


class Screen(Protocol):
    """Where answers go to standard output, and words about them to standard error."""

    def answering(self) -> AbstractContextManager["Answer"]:
        """A context that takes an answer's text as it comes."""

    def note(self, text: str) -> None:
        """Say something that is no part of an answer."""

    def recall(self, question: str, answer: str) -> None:
        """Show what was said last in a conversation that is gone on with."""


class Answer(Protocol):
    def add(self, text: str) -> None:
        """Show more of the answer."""

    def think(self, text: str) -> None:
        """Show more of the model's reasoning, if this screen shows it."""


def harmless(text: str) -> str:
    """The text without what would steer a terminal: escape sequences, bells, and the
    like. A model or a server may write anything."""
    return "".join(
        each for each in text if each in "\n\t" or unicodedata.category(each) != "Cc"
    )


class PlainScreen:
    """For pipes and files: the answer as it is, nothing else on standard output."""

    @contextmanager
    def answering(self) -> Iterator["PlainAnswer"]:
        answer = PlainAnswer(sys.stdout.isatty())
        try:
            yield answer
        finally:
            answer.end()

    def note(self, text: str) -> None:
        print(harmless(text), file=sys.stderr, flush=True)  # noqa: T201

    def recall(self, question: str, answer: str) -> None:
        """Not shown: it answers nothing that was asked here."""


class PlainAnswer:
    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._has_begun = False

    def add(self, text: str) -> None:
        self._has_begun = True
        sys.stdout.write(harmless(text) if self._is_terminal else text)
        sys.stdout.flush()

    def think(self, text: str) -> None:
        """Not shown: who pipes an answer wants the answer."""

    def end(self) -> None:
        if self._has_begun:
            sys.stdout.write("\n")
            sys.stdout.flush()


class MarkdownScreen:
    """For people at a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._notes = Console(stderr=True, highlight=False)

    @contextmanager
    def answering(self) -> Iterator["MarkdownAnswer"]:
        answer = MarkdownAnswer()
        live = Live(
            answer,
            console=self._console,
            transient=True,
            refresh_per_second=REFRESHES_PER_SECOND,
        )
        try:
            with unechoed(), live:
                yield answer
        finally:
            # What grew was no taller than the screen; now it is written in whole.
            if answer.has_begun:
                self._console.print(answer.whole())

    def note(self, text: str) -> None:
        self._notes.print(Text(harmless(text), style="dim"))

    def recall(self, question: str, answer: str) -> None:
        self.note(f"> {question}")
        self._console.print(rendered(harmless(answer)))


@contextmanager
def unechoed() -> Iterator[None]:
    """Have the terminal show nothing that is typed meanwhile, `^C` not either: behind a
    full line it would begin another one, and what grows could not be taken back."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    quiet = termios.tcgetattr(keyboard)
    quiet[3] &= ~termios.ECHO  # of the four kinds of flags the local ones
    try:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, quiet)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


class MarkdownAnswer:
    """Renders as the end of the answer so far that fits on the screen."""

    def __init__(self) -> None:
        self._text = ""
        self._thought = ""

    def add(self, text: str) -> None:
        self._text += harmless(text)

    def think(self, text: str) -> None:
        self._thought += harmless(text)

    @property
    def has_begun(self) -> bool:
        return bool(self._text)

    def whole(self) -> Markdown:
        return rendered(self._text)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        thought = Text(self._thought or WAITING, style="dim italic")
        shown = self.whole() if self.has_begun else thought
        lines = console.render_lines(shown, options.update(height=None), pad=False)
        for line in lines[-(console.height - 1) :]:
            yield Segments([*line, Segment.line()])


def rendered(text: str) -> Markdown:
    # Links are written out: one must see where they lead.
    return Markdown(text, hyperlinks=False)
