"""Side by side: one prompt, the answers of several models, and which is best."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import transaction
from django.utils.timezone import now

from chat.branches import Change, look_at
from chat.composing.setups import PLAIN, Setup
from chat.conversations import (
    Turn,
    begin_answer,
    begin_prompt,
    locked_message,
)
from chat.errors import ConversationNotFound
from chat.models import Comparison
from controller.models import User

Outcome = Comparison.Outcome


@dataclass(frozen=True, slots=True)
class Asked:
    """A model, and what its answer's parameters are."""

    model: str
    parameters: dict[str, Any] = field(default_factory=dict)


@transaction.atomic
def begin_comparison(
    user: User,
    conversation_id: uuid.UUID | None,
    text: str,
    asked: Sequence[Asked],
    setup: Setup = PLAIN,
    attachments: Sequence[uuid.UUID] = (),
    is_temporary: bool = False,
) -> list[Turn]:
    """Store a prompt and an empty answer of each model; the first one's is the leaf.

    None begins a conversation. Raises as `begin_turn` does.
    """
    prompt = begin_prompt(
        *(user, conversation_id, asked[0].model, text, setup, attachments),
        num_wanted=len(asked),
        is_temporary=is_temporary,
    )
    conversation = prompt.conversation
    turns = []
    for each in asked:
        turn = begin_answer(conversation, prompt, each.model, after=prompt.parent_id)
        turns.append(replace(turn, parameters=each.parameters))
    conversation.model = asked[0].model
    conversation.save(update_fields=["model"])
    look_at(conversation, turns[0].message_id)
    Comparison.objects.create(
        user=user,
        prompt=prompt,
        model_names=[each.model for each in asked],
        parameters=[each.parameters for each in asked],
        answers=[str(turn.message_id) for turn in turns],
    )
    return turns


@transaction.atomic
def vote(
    user: User, prompt_id: uuid.UUID, outcome: str, winner_id: uuid.UUID | None
) -> Change:
    """Store which answer to the prompt is the best, or that none is. The conversation
    goes on with the winner. A later vote takes the place of this one.

    Raises `ConversationNotFound`, also for an answer that was not compared.
    """
    prompt = locked_message(user, prompt_id)
    comparison = Comparison.objects.filter(prompt=prompt).first()
    is_won = outcome == Outcome.WINNER
    if comparison is None or is_won != (winner_id is not None):
        raise ConversationNotFound
    winner = comparison.column_of(winner_id)
    if is_won and winner is None:
        raise ConversationNotFound
    comparison.outcome = outcome
    comparison.winner = winner
    comparison.voted_at = now()
    comparison.save(update_fields=["outcome", "winner", "voted_at"])
    if winner_id is not None and winner_id in prompt.conversation.tree():
        look_at(prompt.conversation, winner_id)
    return Change(prompt.conversation_id, prompt.id)
