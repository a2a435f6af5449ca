"""The conversation with a person or a script: lines in, answers and notes out."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from chat.terminal.api import Api
from chat.terminal.errors import BadCommand
from chat.terminal.screens import Screen
from chat.terminal.talks import Message, Talk, load, save

HELP = """\
/model [NAME]        tell the model, or go on with another
/models              list what is served now
/system [TEXT]       set the system prompt; without a text, none
/set [NAME [VALUE]]  set a parameter (/set temperature 0.2), unset it, or tell all
/regenerate          answer the last question again
/undo                forget the last question and its answer
/new                 begin a new conversation; model, system prompt and parameters stay
/save FILE           write the conversation into a file, which the chat site imports
/load FILE           go on with a conversation from a file, the site's exports included
/help                this list
/quit                end; so does Ctrl-D
Ctrl-C stops an answer and keeps what came. Enter sends, Alt+Enter makes a new line.
What begins with // is sent with one slash."""
CUT_SHORT = (
    "The answer was cut at its longest: /set max_tokens N allows more, up to what the"
    " model's context has left."
)
# The chat itself says these.
NOT_PARAMETERS = {"model", "messages", "stream", "stream_options"}


class Session:
    """What a line does. Raises `TerminalError` for what cannot be done."""

    def __init__(self, api: Api, talk: Talk, screen: Screen) -> None:
        self._api = api
        self._screen = screen
        self.talk = talk
        self.has_ended = False
        self.was_stopped = False
        self.commands: dict[str, Callable[[str], None]] = {
            "/model": self._model,
            "/models": self._models,
            "/system": self._system,
            "/set": self._set,
            "/regenerate": self._regenerate,
            "/undo": self._undo,
            "/new": self._new,
            "/save": self._save,
            "/load": self._load,
            "/help": lambda _: self._screen.note(HELP),
            "/quit": self._quit,
        }

    def take(self, text: str) -> None:
        """Do what the text commands, or ask it."""
        if not text.strip():
            return
        if text.startswith("/") and not text.startswith("//"):
            name, _, rest = text.strip().partition(" ")
            self._command(name)(rest.strip())
            return
        self.ask(text.removeprefix("/") if text.startswith("//") else text)

    def recall(self) -> None:
        """Show a person where the conversation is."""
        if exchange := self.talk.last_exchange:
            self._screen.recall(*exchange)

    def ask(self, text: str) -> None:
        """Ask, and show the answer."""
        if not self.talk.model:
            raise BadCommand(
                "No model is chosen: /models lists them, /model NAME takes one."
            )
        before = list(self.talk.messages)
        self.talk.ask(text)
        self._answer(before)

    def _answer(self, before: list[Message]) -> None:
        """Show an answer and keep what came of it, also if it is stopped or breaks off.

        If nothing came, the conversation is again what it was `before`.
        """
        text = finish_reason = ""
        try:
            with (
                self._screen.answering() as shown,
                self._api.answer(self.talk.request()) as chunks,
            ):
                for chunk in chunks:
                    text += chunk.text
                    shown.think(chunk.thought)
                    shown.add(chunk.text)
                    finish_reason = chunk.finish_reason or finish_reason
        except KeyboardInterrupt:
            self.was_stopped = True
            self._screen.note("Stopped." if text else "Stopped before anything came.")
        else:
            if not text:
                self._screen.note("The model ended its answer without a word.")
            elif finish_reason == "length":
                self._screen.note(CUT_SHORT)
        finally:
            if text:
                self.talk.take_answer(text)
            else:
                self.talk.messages = before

    def _command(self, name: str) -> Callable[[str], None]:
        if name in self.commands:
            return self.commands[name]
        raise BadCommand(f"{name} is no command{_meant(name, list(self.commands))}")

    def _model(self, name: str) -> None:
        if name and not self._api.serves(name):
            known = [each.id for each in self._api.models()]
            raise BadCommand(f"{name} is not served{_meant(name, known, '/models')}")
        self.talk.model = name or self.talk.model
        self._screen.note(f"Model: {self.talk.model or 'none'}")

    def _models(self, _: str) -> None:
        names = [each.id for each in self._api.models()]
        self._screen.note("\n".join(names) or "No model is served now.")

    def _system(self, text: str) -> None:
        self.talk.system = text
        self._screen.note("System prompt set." if text else "No system prompt.")

    def _set(self, words: str) -> None:
        name, _, value = words.partition(" ")
        if name in NOT_PARAMETERS:
            raise BadCommand(f"{name} cannot be set here: see /help.")
        if value:
            self.talk.parameters[name] = parameter(value.strip())
        elif name:
            self.talk.parameters.pop(name, None)
        told = [f"{key} = {each}" for key, each in self.talk.parameters.items()]
        self._screen.note("\n".join(told) or "All parameters are the model's own.")

    def _regenerate(self, _: str) -> None:
        before = list(self.talk.messages)
        self.talk.forget_answer()
        self._answer(before)

    def _undo(self, _: str) -> None:
        question = self.talk.take_back()
        self._screen.note(f"Forgotten: {question}")

    def _new(self, _: str) -> None:
        self.talk.messages = []
        self._screen.note("A new conversation.")

    def _save(self, name: str) -> None:
        save(self.talk, _file(name, "/save"))
        self._screen.note(f"Saved in {name}.")

    def _load(self, name: str) -> None:
        loaded = load(_file(name, "/load"))
        loaded.model = loaded.model or self.talk.model
        self.talk = loaded
        self.recall()
        self._screen.note(f"{len(loaded.messages)} messages, model {loaded.model}.")

    def _quit(self, _: str) -> None:
        self.has_ended = True


def parameter(written: str) -> Any:
    """A number, true, a list, ...; what is no JSON is a text as it stands."""
    try:
        return msgspec.json.decode(written)
    except msgspec.MsgspecError:
        return written


def _file(name: str, command: str) -> Path:
    if not name:
        raise BadCommand(f"Which file? {command} FILE")
    return Path(name).expanduser()


def _meant(name: str, known: list[str], list_command: str = "/help") -> str:
    close = get_close_matches(name, known, n=1)
    hint = f": did you mean {close[0]}?" if close else "."
    return f"{hint} {list_command} lists what there is."
