"""The messages of a chat: as clients send them, and as chat templates read them."""

from typing import Any, TypedDict

import msgspec
from msgspec import Struct

from workers.refusals import RequestRefused
from workers.transformers_engine.errors import unsupported


class TemplateMessage(TypedDict, total=False):
    role: str
    content: str
    name: str
    tool_call_id: str
    tool_calls: list[dict[str, Any]]


class ContentPart(Struct, frozen=True):
    type: str
    text: str | None = None


class FunctionCall(Struct, frozen=True):
    name: str
    arguments: str = "{}"


class ToolCall(Struct, kw_only=True, frozen=True):
    function: FunctionCall
    id: str = ""
    type: str = "function"


class Message(Struct, frozen=True):
    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def needs_tools(self) -> bool:
        """Whether only a template that knows tools can put it into words."""
        return bool(self.tool_calls) or self.role == "tool"

    def for_template(self) -> TemplateMessage:
        """Return the message as templates read it; refuses what is no text."""
        message: TemplateMessage = {"role": self.role, "content": self._text()}
        if self.name:
            message["name"] = self.name
        if self.tool_call_id:
            message["tool_call_id"] = self.tool_call_id
        if self.tool_calls:
            message["tool_calls"] = [_for_template(call) for call in self.tool_calls]
        return message

    def _text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        texts = []
        for part in self.content or []:
            if part.type != "text" or part.text is None:
                raise unsupported("messages", f"content of type {part.type!r}")
            texts.append(part.text)
        return "\n".join(texts)


def _for_template(call: ToolCall) -> dict[str, Any]:
    """Return `call` with its arguments as an object: templates write it as JSON."""
    try:
        arguments = msgspec.json.decode(call.function.arguments, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RequestRefused(
            f"messages: the arguments of a call of {call.function.name!r} are no JSON"
            f" object: {error}.",
            "messages",
        ) from error
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}
