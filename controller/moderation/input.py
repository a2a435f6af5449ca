"""What a model is asked, looked through before it is sent anywhere.

Every text of a request's body counts, wherever it stands: messages of all roles, their
parts, calls of tools and their results, tools' descriptions, prompts, documents. Left
out are names that a text cannot hide behind, and media.
"""

from collections.abc import Iterator
from typing import Any

from controller.errors import ContentBlocked, InvalidRequest
from controller.moderation.matching import BLOCK
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
    for holder, place, text in list(texts_in(body)):
        spots = find_spots(watch.sets, text)
        if not spots:
            continue
        for spot in spots:
            watch.note(text, spot)
        blocking += (spot for spot in spots if spot.rule.action == BLOCK)
        holder[place] = redacted(text, spots)
    if blocking:
        first = min(blocking, key=lambda spot: spot.rule.order)
        raise ContentBlocked(first.rule.category)


def texts_in(value: Any) -> Iterator[tuple[Any, Any, str]]:
    """(a dict or list, its key or index, the text there) for each text in a body."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for place, item in items:
            if isinstance(item, str):
                if item and place not in NAMES and place not in MEDIA:
                    yield holder, place, item
            elif isinstance(item, (dict, list)) and place not in MEDIA:
                waiting.append(item)


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
