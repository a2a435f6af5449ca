"""What a model is asked, looked through before it is sent anywhere.

Every text of a request's body counts, wherever it stands: messages of all roles, their
parts, calls of tools and their results, tools' descriptions and the names in their
schemas, prompts, documents. Left out are the words of the API itself, ids, and media. A
message's parts are looked through one by one and joined: some templates put a line
break between them, others nothing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from controller.errors import ContentBlocked, InvalidRequest
from controller.moderation.matching import BLOCK, REDACT
from controller.moderation.watch import Spot, Watch, find_spots, redacted

# Checked elsewhere, and no part of what a model reads.
OF_GATEWAY = frozenset({"model", "encoding_format"})
# What stands there is one of a few words of the API; templates show others to models.
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
TYPES = frozenset(
    {"text", "function", "custom", "json_object", "json_schema", "grammar"}
    | {"image_url", "input_audio", "audio_url", "video_url", "image", "refusal"}
    | {"object", "array", "string", "number", "integer", "boolean", "null"}
)
WORDS = {"role": ROLES, "type": TYPES}
# As engines and their clients make them; patterns would find numbers in those.
IDS = frozenset({"id", "tool_call_id"})
_ID = re.compile(r"(?:chatcmpl-tool-|call[_-]|toolu_)?[A-Za-z0-9]{1,40}")
# In the parts of a message, and nowhere else.
MEDIA = frozenset({"image_url", "input_audio", "audio_url", "video_url", "image"})
# Names that schemas have of themselves: JSON Schema's, and OpenAI's around them.
OF_SCHEMAS = frozenset(
    {"function", "name", "description", "parameters", "strict", "json_schema"}
    | {"schema", "type", "properties", "required", "items", "enum", "const", "default"}
    | {"additionalProperties", "anyOf", "oneOf", "allOf", "not", "$ref", "$defs"}
    | {"definitions", "format", "pattern", "title", "minimum", "maximum", "minLength"}
    | {"maxLength", "minItems", "maxItems", "uniqueItems", "examples", "$schema"}
    | {"prefixItems", "patternProperties", "id", "text", "content", "role", "url"}
)
# No model reads a key of these.
WITHOUT_NAMES = frozenset({"messages", "logit_bias", "metadata", "stream_options"})
# Here token ids may stand in place of text.
PROMPTS = ("prompt", "input")


def moderate_input(body: dict[str, Any], watch: Watch) -> None:
    """Redact the body in place, and note what was found.

    Raises `ContentBlocked` for what a rule blocks, and `InvalidRequest` for token ids
    where a rule would have to read them.
    """
    if any(rules.acts for rules in watch.sets):
        refuse_token_ids(body)
    blocking: list[Spot] = []
    # Parts are joined once each is redacted: then what is left to find is between them.
    # Names come last: what stands under one is found by it.
    whole: list[Written] = [*texts_in(body), *names_in(body)]
    passages: list[Sequence[Written]] = [[place] for place in whole]
    for places in [*passages, *split_texts_in(body)]:
        passage = Passage(places)
        spots = find_spots(watch.sets, passage.text)
        for spot in spots:
            watch.note(passage.text, spot)
        blocking += (spot for spot in spots if spot.rule.action == BLOCK)
        passage.redact(spots)
    if blocking:
        first = min(blocking, key=lambda spot: spot.rule.order)
        raise ContentBlocked(first.rule.category)


class Place(NamedTuple):
    """Where a text of a body stands: a dict or list, and its key or index there."""

    holder: Any
    key: Any

    @property
    def text(self) -> str:
        return str(self.holder[self.key])

    def put(self, text: str) -> None:
        self.holder[self.key] = text


class Name(NamedTuple):
    """A key of a body's that a model reads."""

    holder: dict[str, Any]
    text: str

    def put(self, text: str) -> None:
        """Call it so, in its place among the others."""
        items = list(self.holder.items())
        self.holder.clear()
        self.holder.update((text if key == self.text else key, v) for key, v in items)


class Written(Protocol):
    """Where words stand, and others can be put."""

    @property
    def text(self) -> str: ...

    def put(self, text: str) -> None: ...


class Passage:
    """Texts that a model reads as one."""

    def __init__(self, places: Sequence[Written]) -> None:
        self._places = places
        self._texts = [place.text for place in places]
        self.text = "".join(self._texts)

    def redact(self, spots: list[Spot]) -> None:
        """Put a mark where a match begins that is to be redacted, and nothing for what
        of it stands in texts behind. `spots` are sorted."""
        if not any(spot.rule.action == REDACT for spot in spots):
            return
        begin = 0
        for place, text in zip(self._places, self._texts, strict=True):
            if (kept := redacted(text, spots, begin)) != text:
                place.put(kept)
            begin += len(text)


def texts_in(value: Any) -> Iterator[Place]:
    """Where the texts in a body stand."""
    waiting = [(value, OF_GATEWAY)]
    while waiting:
        holder, left_out = waiting.pop()
        is_list = isinstance(holder, list)
        for key, item in enumerate(holder) if is_list else holder.items():
            if isinstance(item, str):
                if item and key not in left_out and not _is_of_api(key, item):
                    yield Place(holder, key)
            elif isinstance(item, (dict, list)) and key not in left_out:
                # In a list stand the parts of what it is the content of.
                below = left_out if is_list else _left_out_of(key, item)
                waiting.append((item, below))


def _left_out_of(key: Any, value: Any) -> frozenset[str]:
    is_parts = key == "content" and isinstance(value, list)
    return MEDIA if is_parts else frozenset()


def _is_of_api(key: Any, text: str) -> bool:
    """Whether it is a word or an id that every request has, and no text of anybody."""
    if key in IDS:
        return _ID.fullmatch(text) is not None
    return text in WORDS.get(key, ())


def names_in(body: dict[str, Any]) -> Iterator[Name]:
    """The names that whoever asks has chosen: of parameters in the schemas of tools and
    answers, of fields in documents."""
    waiting = [value for key, value in body.items() if key not in WITHOUT_NAMES]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict):
            yield from (Name(holder, key) for key in holder if key not in OF_SCHEMAS)
            waiting += holder.values()
        elif isinstance(holder, list):
            waiting += holder


def judged_texts(body: dict[str, Any]) -> list[str]:
    """What a classifier reads of a body, each once: one text a message, or a prompt."""
    messages = body.get("messages")
    holders = messages if isinstance(messages, list) else [body]
    texts = ("\n".join(place.text for place in texts_in(each)) for each in holders)
    return list(dict.fromkeys(filter(None, texts)))


def split_texts_in(body: dict[str, Any]) -> Iterator[list[Place]]:
    """Of each message that has its text in several parts, where they stand."""
    for message in body.get("messages") or ():
        content = message.get("content")
        parts = content if isinstance(content, list) else ()
        places = [Place(p, "text") for p in parts if isinstance(p.get("text"), str)]
        if len(places) > 1:
            yield places


def refuse_token_ids(body: dict[str, Any]) -> None:
    """Raise for a prompt that no rule can read."""
    for name in PROMPTS:
        given = body.get(name)
        if isinstance(given, list) and given and not isinstance(given[0], (str, dict)):
            raise InvalidRequest(
                f"'{name}' is token ids, which this server's moderation cannot read:"
                " send text.",
                param=name,
                code="text_required",
            )
