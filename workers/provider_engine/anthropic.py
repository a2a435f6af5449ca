"""Anthropic's Messages API."""

from collections.abc import Mapping, Sequence
from typing import Any

from any_llm import AnyLLM
from any_llm.providers.anthropic import AnthropicProvider
from any_llm.types.model import Model
from typing_extensions import override

PAGE_SIZE = 1000  # the most that its list gives at once


class Anthropic(AnthropicProvider):
    """any-llm's provider, whose list also says how long a model's context is."""

    @override
    async def _alist_models(self, **kwargs: Any) -> Sequence[Model]:
        return [
            Model.model_validate(
                {
                    "id": model.id,
                    "object": "model",
                    "created": 0,
                    "owned_by": "anthropic",
                    "max_model_len": model.max_input_tokens,
                }
            )
            async for model in self.client.models.list(limit=PAGE_SIZE)
        ]


def connect(address: str, version: str, key: str, headers: Mapping[str, str]) -> AnyLLM:
    """Return a client of the API at `address`; it knows its own `version`."""
    return Anthropic(
        api_key=key,
        api_base=address,
        unified_exceptions=True,
        max_retries=0,  # who asks again, and whom, is the gateway's to say
        default_headers=dict(headers),
    )
