"""Bodies of `/v1/tokenize` and `/v1/detokenize`, as vLLM has them."""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

from django.conf import settings
from msgspec import Meta

from controller.errors import InvalidRequest
from openai_api.bodies import Ceiling, Message, RequestBody, refuse_remote_media


class TokenizeBody(RequestBody, kw_only=True):
    """A text, or messages, which the model's chat template makes a text of."""

    passed: ClassVar[frozenset[str]] = frozenset(
        {"add_generation_prompt", "continue_final_message"}
    )

    prompt: str | None = None
    messages: Annotated[list[Message], Meta(min_length=1)] | None = None
    tools: list[dict[str, Any]] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None

    def ceilings(self) -> Iterable[Ceiling]:
        limit = settings.MAX_TOKENIZE_LENGTH
        num_characters = sum(map(_num_characters, self.messages or ()))
        return (
            ("prompt", len(self.prompt or ""), limit),
            ("messages", num_characters, limit),
        )

    def check(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise InvalidRequest(
                "Send either `prompt`, a text, or `messages`, as for a chat.",
                param="prompt",
            )
        refuse_remote_media(self.messages or [])


class DetokenizeBody(RequestBody, kw_only=True):
    tokens: list[Annotated[int, Meta(ge=0)]]

    def ceilings(self) -> Iterable[Ceiling]:
        return (("tokens", len(self.tokens), settings.MAX_TOKENIZE_LENGTH),)


def _num_characters(message: Message) -> int:
    if isinstance(message.content, list):
        return sum(len(str(part.get("text", ""))) for part in message.content)
    return len(message.content or "")
