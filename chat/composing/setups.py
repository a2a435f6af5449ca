"""How a conversation asks its model: instructions, and parameters of the sampling."""

from typing import Any

import msgspec


class Parameters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """OpenAI's fields of these names; None leaves it to the model."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: list[str] = []
    seed: int | None = None

    def fields(self) -> dict[str, Any]:
        """Those that are set, ready for a request's body."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    system_prompt: str = ""
    parameters: Parameters = Parameters()

    def __bool__(self) -> bool:
        return bool(self.system_prompt) or self.parameters != Parameters()


PLAIN = Setup()


def setup_of(system_prompt: str, stored: dict[str, Any]) -> Setup:
    """The set-up that a row holds."""
    parameters = msgspec.convert(stored, Parameters)
    return Setup(system_prompt=system_prompt, parameters=parameters)
