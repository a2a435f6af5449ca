"""Google's generateContent API, as Gemini's developers reach it."""

from collections.abc import Mapping, Sequence
from typing import Any

from any_llm import AnyLLM
from any_llm.providers.gemini import GeminiProvider
from any_llm.types.model import Model
from typing_extensions import override

PAGE_SIZE = 1000  # the most that its list gives at once
GENERATES = "generateContent"


class Gemini(GeminiProvider):
    """any-llm's provider, whose list is whole and says how long a context is."""

    @override
    async def _alist_models(self, **kwargs: Any) -> Sequence[Model]:
        pages = await self.client.aio.models.list(config={"page_size": PAGE_SIZE})
        return [
            Model.model_validate(
                {
                    "id": (model.name or "").removeprefix("models/"),
                    "object": "model",
                    "created": 0,
                    "owned_by": "google",
                    "max_model_len": model.input_token_limit,
                }
            )
            async for model in pages
            if GENERATES in (model.supported_actions or [GENERATES])
        ]


def connect(address: str, version: str, key: str, headers: Mapping[str, str]) -> AnyLLM:
    """Return a client of the API at `address`; without a `version` of its own one."""
    options: dict[str, Any] = {"headers": dict(headers)}
    if version:
        options["api_version"] = version
    return Gemini(
        api_key=key,
        api_base=address,
        unified_exceptions=True,
        max_retries=0,  # who asks again, and whom, is the gateway's to say
        http_options=options,
        vertexai=False,
    )
