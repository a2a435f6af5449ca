"""An answer that stands side by side with others: asked again, gone on with and looked
at in its column, while what happens in the others goes on."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from chat import branches, conversations
from chat.branches import Change, look_at
from chat.conversations import (
    Turn,
    locked_message,
    refuse_if_busy,
    reopen_answer,
    store_answer,
)
from chat.errors import NothingToContinue
from chat.models import Comparison, Message
from controller.models import User


@dataclass(frozen=True, slots=True)
class Column:
    """Where an answer stands among those that its conversation shows side by side."""

    comparison: Comparison
    index: int
    is_chosen: bool
    """The conversation goes on from this column."""

    @property
    def model(self) -> str:
        return str(self.comparison.model_names[self.index])

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.comparison.parameters[self.index])

    @property
    def beside(self) -> set[uuid.UUID]:
        """The answers of all other columns."""
        columns = enumerate(self.comparison.columns)
        others = [ids for index, ids in columns if index != self.index]
        return {uuid.UUID(each) for ids in others for each in ids}


def column_of(answer: Message) -> Column | None:
    """The answer's column; None where the conversation does not end side by side, or
    this answer was not compared. One query."""
    leaf_id = answer.conversation.leaf_id
    comparison = Comparison.objects.filter(prompt=answer.parent_id).first()
    if comparison is None:
        return None
    index, chosen = comparison.column_of(answer.id), comparison.column_of(leaf_id)
    if index is None or chosen is None:
        return None
    return Column(comparison, index, is_chosen=index == chosen)


@transaction.atomic
def begin_retry(user: User, message_id: uuid.UUID, model: str) -> Turn:
    """`conversations.begin_retry`, but an answer side by side with others gets a new
    version in its column, of the same model and parameters. Another `model` answers
    alone."""
    answer = locked_message(user, message_id, role=Message.Role.ASSISTANT)
    column, prompt = column_of(answer), answer.parent
    if column is None or prompt is None or model not in ("", column.model):
        return conversations.begin_retry(user, message_id, model)
    refuse_if_busy(user, answer.conversation, beside=column.beside)
    turn = store_answer(answer.conversation, prompt, column.model, after=prompt.id)
    column.comparison.show(column.index, turn.message_id)
    if column.is_chosen:
        look_at(answer.conversation, turn.message_id)
    return replace(turn, parameters=column.parameters)


@transaction.atomic
def begin_continuation(
    user: User,
    message_id: uuid.UUID,
    text: str,
    can_continue: Callable[[str], bool],
) -> Turn:
    """`conversations.begin_continuation`, but an answer side by side with others grows
    in its column. Where its model cannot go on from it, the conversation goes on with
    this answer, once the others are there."""
    answer = locked_message(user, message_id, role=Message.Role.ASSISTANT)
    column = column_of(answer)
    # What a model thought is not told it again, so it could not go on from there.
    if column is None or answer.reasoning or not can_continue(answer.model):
        if column is not None:
            look_at(answer.conversation, answer.id)
        go_on = conversations.begin_continuation
        return go_on(user, message_id, text, can_continue)
    refuse_if_busy(user, answer.conversation, beside=column.beside)
    if not answer.can_go_on:
        raise NothingToContinue
    turn = reopen_answer(answer.conversation, answer)
    return replace(turn, parameters=column.parameters)


@transaction.atomic
def choose(user: User, message_id: uuid.UUID) -> Change:
    """`branches.choose`, but of an answer side by side with others its column shows
    this version, from which the conversation goes on only if it did from this column.
    """
    message = locked_message(user, message_id)
    column = column_of(message)
    if column is None:
        return branches.choose(user, message_id)
    is_shown = str(message_id) == column.comparison.answers[column.index]
    column.comparison.show(column.index, message_id)
    if is_shown or column.is_chosen:
        return branches.choose(user, message_id)
    return Change(message.conversation_id, message.parent_id)
