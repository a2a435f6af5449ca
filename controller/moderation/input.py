"""What a model is asked, looked through before it is sent anywhere.

Every text of a request's body counts, wherever it stands: messages of all roles, their
parts, calls of tools and their results, tools' descriptions, prompts, documents. Left
out are names that a text cannot hide behind, and media. A message's parts are looked
through one by one and joined: some templates put a line break between them, others
nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from controller.errors import ContentBlocked, InvalidRequest
from controller.moderation.matching import BLOCK, REDACT
from controller.moderation.watch import Spot, Watch, find_spots, redacted

# What stands there is one of a few words, an id, or is checked elsewhere.
NAMES = frozenset({"model", "role", "type", "id", "tool_call_id", "encoding_format"})
MEDIA = frozenset({"image_url", "input_audio", "audio_url", "video_url", "image"})
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
    whole, split = list(texts_in(body)), list(split_texts_in(body))
    for places in [*([place] for place in whole), *split]:
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


class Passage:
    """Texts that a model reads as one."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._texts: list[str] = [holder[key] for holder, key in places]
        self.text = "".join(self._texts)

    def redact(self, spots: list[Spot]) -> None:
        """Put a mark where a match begins that is to be redacted, and nothing for what
        of it stands in texts behind. `spots` are sorted."""
        if not any(spot.rule.action == REDACT for spot in spots):
            return
        begin = 0
        for (holder, key), text in zip(self._places, self._texts, strict=True):
            holder[key] = redacted(text, spots, begin)
            begin += len(text)


def texts_in(value: Any) -> Iterator[Place]:
    """Where the texts in a body stand."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, item in items:
            if isinstance(item, str):
                if item and key not in NAMES and key not in MEDIA:
                    yield Place(holder, key)
            elif isinstance(item, (dict, list)) and key not in MEDIA:
                waiting.append(item)


def judged_texts(body: dict[str, Any]) -> list[str]:
    """What a classifier reads of a body, each once: one text a message, or a prompt."""
    messages = body.get("messages")
    holders = messages if isinstance(messages, list) else [body]
    texts = (
        "\n".join(place.holder[place.key] for place in texts_in(each))
        for each in holders
    )
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
