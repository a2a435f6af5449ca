"""A conversation in the terminal, and the file it is kept in.

The file is what the chat site exports and imports (`switchyard.conversations`), with
the system prompt and the parameters added, which the site's import passes over.
"""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from chat.terminal.errors import BadCommand

FORMAT, VERSION = "switchyard.conversations", 1
LARGEST_FILE = 20_000_000
LONGEST_TITLE = 60


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _new_id() -> str:
    return str(uuid.uuid4())


class Message(Struct):
    role: str
    content: str
    model: str = ""
    id: str = field(default_factory=_new_id)
    parent: str | None = None
    created_at: str = field(default_factory=_now)


class Talk(Struct):
    """What is asked with, and what was said."""

    model: str = ""
    system: str = ""
    parameters: dict[str, Any] = {}
    messages: list[Message] = []

    def request(self) -> dict[str, Any]:
        """The body that asks for the next answer."""
        said = [{"role": each.role, "content": each.content} for each in self.messages]
        if self.system:
            said.insert(0, {"role": "system", "content": self.system})
        return {"model": self.model, "messages": said, **self.parameters}

    def ask(self, text: str) -> None:
        self.messages.append(Message("user", text))

    def take_answer(self, text: str) -> None:
        self.messages.append(Message("assistant", text, self.model))

    def take_back(self) -> str:
        """Forget the last question and what was answered; return the question.

        Raises `BadCommand` if nothing was asked.
        """
        while self.messages:
            if (last := self.messages.pop()).role == "user":
                return last.content
        raise BadCommand("Nothing has been asked yet.")

    @property
    def last_exchange(self) -> tuple[str, str] | None:
        """The last question and its answer, if the conversation ends with one."""
        match self.messages[-2:]:
            case [
                Message(role="user") as question,
                Message(role="assistant") as answer,
            ]:
                return question.content, answer.content
        return None

    def forget_answer(self) -> None:
        """Forget what was answered to the last question. Raises `BadCommand`."""
        self.ask(self.take_back())


class _Kept(Struct):
    """A conversation as it is in a file."""

    messages: list[Message]
    leaf: str | None
    id: str = field(default_factory=_new_id)
    title: str = ""
    model: str = ""
    created_at: str = field(default_factory=_now)
    updated_at: str = field(default_factory=_now)
    system: str = ""
    parameters: dict[str, Any] = {}


class _File(Struct):
    conversations: list[_Kept]
    format: str = FORMAT
    version: int = VERSION


def save(talk: Talk, file: Path) -> None:
    """Write the conversation into the file, readable by its owner alone.

    Raises `BadCommand`.
    """
    parent = None
    for message in talk.messages:
        message.parent, parent = parent, message.id
    first = next(iter(talk.messages), None)
    kept = _Kept(
        talk.messages,
        parent,
        title=" ".join(first.content.split())[:LONGEST_TITLE] if first else "",
        model=talk.model,
        system=talk.system,
        parameters=talk.parameters,
    )
    content = msgspec.json.format(msgspec.json.encode(_File([kept])))
    try:
        file.touch(mode=0o600)
        file.write_bytes(content + b"\n")
    except OSError as exc:
        raise BadCommand(f"{file} cannot be written: {exc.strerror}") from exc


def load(file: Path) -> Talk:
    """The conversation in a file of `save`, or in one that the site exported: of its
    branches the one that was looked at. Raises `BadCommand`."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
    except OSError as exc:
        raise BadCommand(f"{file} cannot be read: {exc.strerror}") from exc
    if len(content) > LARGEST_FILE:
        raise BadCommand(f"{file} is larger than {LARGEST_FILE} bytes.")
    try:
        kept = msgspec.json.decode(content, type=_File).conversations
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise BadCommand(f"{file} holds no conversation of Switchyard: {exc}") from exc
    if len(kept) != 1:
        raise BadCommand(f"{file} holds {len(kept)} conversations: export one alone.")
    return Talk(kept[0].model, kept[0].system, kept[0].parameters, _line(kept[0]))


def _line(kept: _Kept) -> list[Message]:
    """The messages from the first to the leaf."""
    by_id = {each.id: each for each in kept.messages}
    line: list[Message] = []
    each = by_id.pop(kept.leaf or "", None)
    while each:
        line.append(each)
        # Popped, so that parents in a circle come to an end.
        each = by_id.pop(each.parent or "", None)
    return line[::-1]
