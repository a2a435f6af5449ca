"""Where lines come from: a person at a line editor, or a pipe."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

QUOTES = '"""'


def history_file() -> Path:
    """Where what was typed is remembered, by the XDG rule for a program's state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "switchyard" / "chat-history"


def typed(commands: Iterable[str], remembered: Path | None) -> Iterator[str]:
    """What a person sends, until Ctrl-D. Ctrl-C empties the line."""
    session: PromptSession[str] = PromptSession(
        history=_history(remembered),
        completer=WordCompleter(list(commands), sentence=True),
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="  ",
    )
    while True:
        try:
            yield session.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def piped(lines: TextIO) -> Iterator[str]:
    """Each line, and what stands between two lines of three double quotes as one."""
    for line in lines:
        if line.strip() == QUOTES:
            yield "".join(_until_quotes(lines)).rstrip("\n")
        else:
            yield line.rstrip("\r\n")


def _until_quotes(lines: TextIO) -> Iterator[str]:
    for line in lines:
        if line.strip() == QUOTES:
            return
        yield line


def _history(file: Path | None) -> History:
    if file is None:
        return InMemoryHistory()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()  # a read-only home is no reason not to chat
    return FileHistory(str(file))


def _keys() -> KeyBindings:
    """Enter sends, Alt+Enter makes a new line."""
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
