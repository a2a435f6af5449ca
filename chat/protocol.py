"""What a page and the server say to each other, as JSON, over the websocket.

The page sends one of the structs below, told apart by `type`. The server sends:

- `models` {models}: what can be asked now, and about how long each lets wait; on
  connecting and at every change
- `started` {ref, conversation, message}: the page's `send`, `compare`, `edit`, `retry`
  or `continue` was taken
- `conversation` {conversation, after, messages, has_earlier, comparison}: the path,
  from the message behind `after` on; its last page where that is null, and whether the
  path has messages before that. A streaming message's content is what there is so far;
  a message's `versions` are the ids of those beside it and its own, oldest first. Where
  the path ends in one of several answers that were asked for side by side, `comparison`
  {prompt, outcome, winner, chosen, messages, parameters} has them all, and a message's
  `versions` are those of its column
- `earlier` {before, messages, has_earlier}: the page of messages that led to `before`
- `waiting` {message, position, length, seconds}: the answer's place in line for a
  worker, 1 being next, and about how long it will be (null while unknown); position 0
  when it is its turn
- `delta` {message, at, text}: `at` counts the characters (code points) before it
- `reasoning` {message, at, text}: the same of what the model thinks before it answers
- `thought` {message, seconds}: it has thought for so long, and answers now
- `moving` {message}: its worker broke off, and another one is asked to go on
- `moved` {message}: another one goes on
- `settled` {message}: a message in its final state; its content is complete
- `judged` {message, rating, rating_reason, is_flagged}: the reader's opinion is stored
- `titled` {conversation, title}: a model gave it a title
- `changed` {conversation}: another page of the owner changed it; attach again
- `error` {ref, code, message}: a request was refused
- `pong` {}
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import msgspec

from chat.comparisons import Asked
from chat.models import Conversation, Message
from chat.news import Delta, News, Pause, Thought, ThoughtFor
from chat.opening import Compared
from chat.trees import MessageTree
from controller.fleet.line import Place
from controller.fleet.snapshot import ModelView
from controller.prices import NANOS
from workers.protocol import IMAGE, Task

Attachments = Annotated[list[uuid.UUID], msgspec.Meta(max_length=100)]


class ClientMessage(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    """A `ref` is the page's own number for its message, which the answer bears."""


class Send(ClientMessage, tag="send"):
    """Ask `model`; without a conversation, in a new one, which may be temporary."""

    model: str
    text: str
    conversation: uuid.UUID | None = None
    ref: int = 0
    attachments: Attachments = []
    setup: dict[str, Any] = {}
    """Of a new conversation; one that is there has its own."""
    is_temporary: bool = False


class Slot(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A model to be compared, with parameters of its own."""

    model: str
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None

    @property
    def asked(self) -> Asked:
        parameters = msgspec.to_builtins(self)
        return Asked(parameters.pop("model"), parameters)


class Compare(ClientMessage, tag="compare"):
    """Ask several models at once, whose answers stand side by side."""

    text: str
    slots: Annotated[list[Slot], msgspec.Meta(min_length=2, max_length=4)]
    conversation: uuid.UUID | None = None
    ref: int = 0
    attachments: Attachments = []
    setup: dict[str, Any] = {}
    is_temporary: bool = False


class Vote(ClientMessage, tag="vote"):
    """Of the answers to `prompt` one is the best, or none."""

    prompt: uuid.UUID
    outcome: Literal["winner", "tie", "all_bad"]
    winner: uuid.UUID | None = None


class Retry(ClientMessage, tag="retry"):
    """Ask for another answer beside `message`, of the same model if none is named; of
    the same model, one that stands side by side with others is answered in its column.
    """

    message: uuid.UUID
    model: str = ""
    ref: int = 0


class Edit(ClientMessage, tag="edit"):
    """Ask `model` a prompt anew, as a version beside `message`."""

    message: uuid.UUID
    model: str
    text: str
    ref: int = 0


class Continue(ClientMessage, tag="continue"):
    """Have the answer `message`, which was cut, go on. `text` asks for it where the
    model cannot go on from an answer by itself."""

    message: uuid.UUID
    text: str
    ref: int = 0


class Choose(ClientMessage, tag="choose"):
    """Show this version of a message, and what followed from it; where it is of a
    column, there."""

    message: uuid.UUID


class Delete(ClientMessage, tag="delete"):
    """Take away a message and all that followed from it."""

    message: uuid.UUID


class Restore(ClientMessage, tag="restore"):
    """Bring back what was deleted with this message."""

    message: uuid.UUID


class Rate(ClientMessage, tag="rate"):
    """An answer is good (1), bad (-1), or rated no more (0)."""

    message: uuid.UUID
    rating: Literal[-1, 0, 1]
    reason: str = ""


class Flag(ClientMessage, tag="flag"):
    """Put an answer before the moderators."""

    message: uuid.UUID
    reason: str = ""


class Attach(ClientMessage, tag="attach"):
    """Show me this conversation, and what comes; I have everything up to `after`."""

    conversation: uuid.UUID
    after: uuid.UUID | None = None


class Earlier(ClientMessage, tag="earlier"):
    """Show me what led to the message `before`, which is the first that I have."""

    conversation: uuid.UUID
    before: uuid.UUID


class Stop(ClientMessage, tag="stop"):
    message: uuid.UUID


class Ping(ClientMessage, tag="ping"):
    pass


Asking = Send | Compare | Edit | Retry | Continue
Changing = Choose | Vote | Delete | Restore
Judging = Rate | Flag
AnyMessage = Asking | Changing | Judging | Attach | Earlier | Stop | Ping

WAIT_STEPS = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 480, 720, 1200, 1800, 3600)

_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)


def decode(text: str) -> AnyMessage:
    """The message in a frame; raises `msgspec.MsgspecError`."""
    return _decoder.decode(text)


def encode(event: dict[str, Any]) -> str:
    return msgspec.json.encode(event).decode()


def message_fields(message: Message) -> dict[str, Any]:
    """A message as the page knows it."""
    return {
        "id": str(message.id),
        "role": message.role,
        "content": message.content,
        "reasoning": message.reasoning,
        "reasoning_seconds": message.reasoning_seconds,
        "attached": message.attached,
        "model": message.model,
        "state": message.state,
        "error": message.error,
        "error_code": message.error_code,
        "finish_reason": message.finish_reason,
        "prompt_tokens": message.prompt_tokens,
        "completion_tokens": message.completion_tokens,
        "ttft_seconds": message.ttft_seconds,
        "cost": None if message.cost_nanos is None else message.cost_nanos / NANOS,
        "duration_seconds": message.duration_seconds,
        "rating": message.rating or 0,
        "rating_reason": message.rating_reason,
        "is_flagged": message.flagged_at is not None,
        "created_at": message.created_at.isoformat(),
    }


def path_fields(path: Iterable[Message], tree: MessageTree) -> list[dict[str, Any]]:
    """Messages of the path that is shown, each with its versions."""
    return [
        {**message_fields(each), "versions": list(map(str, tree.versions_of(each.id)))}
        for each in path
    ]


def comparison_fields(
    compared: Compared | None, path: list[Message], tree: MessageTree
) -> dict[str, Any] | None:
    """Answers side by side, as the page knows them; None where there are none."""
    if compared is None:
        return None
    comparison, columns = compared.comparison, compared.columns
    messages = []
    for each in columns:
        versions = list(map(str, compared.versions_of(each, tree)))
        messages.append({**message_fields(each), "versions": versions})
    winners = [
        str(each.id) for each, place in columns.items() if place == comparison.winner
    ]
    return {
        "prompt": str(path[-1].parent_id),
        "outcome": comparison.outcome,
        "winner": winners[0] if winners else None,
        "chosen": str(path[-1].id),
        "messages": messages,
        "parameters": {
            str(each.id): comparison.parameters[place]
            for each, place in columns.items()
        },
    }


def feedback_fields(message: Message) -> dict[str, Any]:
    return {
        "message": str(message.id),
        "rating": message.rating or 0,
        "rating_reason": message.rating_reason,
        "is_flagged": message.flagged_at is not None,
    }


def news_fields(news: News) -> dict[str, Any]:
    """What is new of an answer, as an event without its message's id."""
    if isinstance(news, Delta):
        return {"type": "delta", "at": news.at, "text": news.text}
    if isinstance(news, Thought):
        return {"type": "reasoning", "at": news.at, "text": news.text}
    if isinstance(news, ThoughtFor):
        return {"type": "thought", "seconds": news.seconds}
    if isinstance(news, Pause):
        return {"type": "moved" if news.is_over else "moving"}
    place = news.place
    return {
        "type": "waiting",
        "position": place.position if place else 0,
        "length": place.length if place else 0,
        "seconds": place.expected_seconds if place else None,
    }


def conversation_fields(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": str(conversation.id),
        "title": conversation.title,
        "model": conversation.model,
        "updated_at": conversation.updated_at.isoformat(),
        "is_temporary": conversation.is_temporary,
    }


def model_fields(
    models: list[ModelView],
    outlook: Callable[[ModelView], Place | None] = lambda model: None,
) -> list[dict[str, Any]]:
    """The models that hold conversations, as the picker shows them."""
    return [
        {
            "name": model.name,
            "aliases": list(model.aliases),
            "description": model.description,
            "licence": model.licence,
            "context_length": model.context_length,
            "sees": IMAGE in model.modalities,
            **wait_fields(outlook(model)),
        }
        for model in models
        if Task.CHAT in model.tasks
    ]


def wait_fields(place: Place | None) -> dict[str, Any]:
    """Whether one must wait, and about how long (null: it is not known)."""
    seconds = place.expected_seconds if place else None
    return {
        "is_busy": place is not None,
        "wait_seconds": None if seconds is None else rounded_wait(seconds),
    }


def rounded_wait(seconds: float) -> int:
    """In steps of about a third: every step is an event to every page."""
    return next((step for step in WAIT_STEPS if seconds <= step), WAIT_STEPS[-1])
