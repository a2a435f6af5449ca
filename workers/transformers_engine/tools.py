"""Tools a model may call, in the hermes format: `<tool_call>{JSON}</tool_call>`."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import Struct

from workers.transformers_engine.grammar import JSON_LAYOUT

OPENING = "<tool_call>"
CLOSING = "</tool_call>"
ANY_ARGUMENTS = {"type": "object"}


class Function(Struct, kw_only=True, frozen=True, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, frozen=True):
    type: Literal["function"]
    function: Function

    def for_template(self) -> dict[str, Any]:
        tool: dict[str, Any] = msgspec.to_builtins(self)
        return tool


class ChosenFunction(Struct, frozen=True):
    name: str


class NamedChoice(Struct, frozen=True):
    type: Literal["function"]
    function: ChosenFunction


def template_knows_tools(template: object) -> bool:
    """Tell if a chat template explains tools in the format that is read here."""
    return isinstance(template, str) and "tools" in template and OPENING in template


def calls_grammar(tools: Sequence[Tool], many: bool) -> str:
    """Return the Lark grammar of an answer that calls one of `tools`, or several."""
    more = ' ("\\n" call)*' if many else ""
    either = " | ".join(f"call_{number}" for number in range(len(tools)))
    rules = [
        f"start: call{more}",
        f'call: "{OPENING}\\n" ({either}) "\\n{CLOSING}"',
    ]
    for number, tool in enumerate(tools):
        name = json.dumps(tool.function.name)
        begin = json.dumps(f'{{"name": {name}, "arguments": ')
        # A schema of its own: references within it begin at its root.
        parameters = {
            **(tool.function.parameters or ANY_ARGUMENTS),
            "x-guidance": JSON_LAYOUT,
        }
        rules.append(f'call_{number}: {begin} arguments_{number} "}}"')
        rules.append(f"arguments_{number}: %json {json.dumps(parameters)}")
    return "\n".join(rules)


@dataclass(frozen=True)
class ReadText:
    """What a piece of an answer turned out to be."""

    content: str
    calls: list[dict[str, Any]]


@dataclass
class ToolCallReader:
    """Parts an answer, as it comes, into what is said and the tools that are called.

    What looks like a call and is none is said as it stands.
    """

    num_calls: int = 0
    _held: str = ""
    _is_in_call: bool = False
    _read: list[dict[str, Any]] = field(default_factory=list)

    def feed(self, text: str, is_last: bool) -> ReadText:
        """Return the content that may be shown now, and the calls that are whole."""
        self._held += text
        content = ""
        while True:
            mark = CLOSING if self._is_in_call else OPENING
            before, found, after = self._held.partition(mark)
            if not found:
                break
            self._held = after
            content += self._call(before, found) if self._is_in_call else before
            self._is_in_call = not self._is_in_call
        if is_last and self._is_in_call:
            content += self._call(self._held, "")
            self._held = ""
        elif not self._is_in_call:
            num_kept = 0 if is_last else _length_of_beginning_at_end(self._held)
            split = len(self._held) - num_kept
            content += self._held[:split]
            self._held = self._held[split:]
        calls, self._read = self._read, []
        # Blank lines between calls are layout.
        is_layout = self.num_calls > 0 and not content.strip()
        return ReadText("" if is_layout else content, calls)

    def _call(self, body: str, closing: str) -> str:
        """Keep the call that `body` is; or return it as the content that it is."""
        try:
            call = msgspec.json.decode(body, type=WrittenCall)
        except msgspec.DecodeError:
            return f"{OPENING}{body}{closing}"
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        self._read.append(
            {
                "index": self.num_calls,
                "id": f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": call.name, "arguments": arguments},
            }
        )
        self.num_calls += 1
        return ""


class WrittenCall(Struct, frozen=True):
    name: str
    arguments: dict[str, Any] = {}


def _length_of_beginning_at_end(text: str) -> int:
    """Return how many of the last letters may begin a call."""
    for length in range(min(len(OPENING) - 1, len(text)), 0, -1):
        if text.endswith(OPENING[:length]):
            return length
    return 0
