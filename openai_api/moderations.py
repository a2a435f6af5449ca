"""`/v1/moderations` as OpenAI has it, answered from this site's own rules.

https://platform.openai.com/docs/api-reference/moderations
"""

import secrets
from typing import Annotated, Any

from django.conf import settings
from msgspec import Meta, Struct

from controller.errors import InvalidRequest
from controller.identity.caller import Caller
from controller.moderation.classifying import Judgement
from controller.moderation.moderator import Moderator
from openai_api.bodies import convert, read_json

# Those that OpenAI's own classifiers give. No rule is of one unless it says so.
OPENAI_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
MODEL = "switchyard-rules"


class TextPart(Struct):
    type: str
    text: str | None = None


class ModerationBody(Struct, forbid_unknown_fields=True):
    input: str | Annotated[list[str | TextPart], Meta(min_length=1)]
    model: str | None = None

    def inputs(self) -> list[list[str]]:
        """The texts of each thing to be judged; parts are one thing together.

        Raises `InvalidRequest` for images, which no rule can see.
        """
        given = [self.input] if isinstance(self.input, str) else self.input
        parts = [part for part in given if isinstance(part, TextPart)]
        if not parts:
            return [[text] for text in given if isinstance(text, str)]
        texts = [part.text for part in parts if part.type == "text"]
        if len(texts) < len(given) or None in texts:
            raise InvalidRequest(
                "Invalid value for 'input': rules read text alone. Send texts, or parts"
                " of the type `text`.",
                param="input",
            )
        return [[text for text in texts if text is not None]]


def decode(raw: bytes) -> ModerationBody:
    """The body. Raises `InvalidRequest` naming what is wrong with it."""
    return convert(read_json(raw), ModerationBody)


async def judge(
    moderator: Moderator, caller: Caller, body: ModerationBody
) -> dict[str, Any]:
    """What the rules that hold for this caller say of each input. Nothing is noted."""
    inputs = body.inputs()
    if len(inputs) > settings.MAX_INPUTS:
        raise InvalidRequest(
            f"Invalid value for 'input': {len(inputs)} is above this server's limit of"
            f" {settings.MAX_INPUTS}.",
            param="input",
        )
    known, judged = await moderator.judge(caller, body.model or "", inputs)
    scored = {name for each in judged for name, _score in each.scores}
    named = {name for each in judged for name in each.categories}
    names = sorted({*OPENAI_CATEGORIES, *known, *scored, *named})
    return {
        "id": f"modr-{secrets.token_hex(12)}",
        "model": MODEL,
        "results": [_result(names, found) for found in judged],
    }


def _result(names: list[str], judgement: Judgement) -> dict[str, Any]:
    found, scores = judgement.categories, dict(judgement.scores)
    return {
        "flagged": judgement.is_flagged,
        "categories": {name: name in found for name in names},
        "category_scores": {
            name: scores.get(name, float(name in found)) for name in names
        },
        "category_applied_input_types": {
            name: ["text"] if name in found else [] for name in names
        },
    }
