"""Moving between the branches of a conversation, and taking one away.

What is taken away is marked, row by row, and can be brought back until it is purged.
"""

import uuid
from dataclasses import dataclass

from django.db import transaction
from django.utils.timezone import now

from chat.conversations import locked_conversation, locked_message
from chat.errors import ConversationNotFound
from chat.models import Conversation, Message
from controller.models import User


@dataclass(frozen=True, slots=True)
class Change:
    """What its owner sees of a conversation is another path behind `after`."""

    conversation_id: uuid.UUID
    after: uuid.UUID | None
    """None: from the start."""
    stopped: tuple[uuid.UUID, ...] = ()
    """Answers that were being written in what is gone."""


@transaction.atomic
def choose(user: User, message_id: uuid.UUID) -> Change:
    """Show this version of a message, and what followed from it last.

    Raises `ConversationNotFound`, also for a message that was deleted.
    """
    message = locked_message(user, message_id)
    conversation = message.conversation
    look_at(conversation, conversation.tree().newest_leaf_below(message.id))
    return Change(conversation.id, message.parent_id)


@transaction.atomic
def delete(user: User, message_id: uuid.UUID) -> Change:
    """Take away a message and all that followed from it. Shown is then the version
    beside it, else what was before. Raises `ConversationNotFound`."""
    message = locked_message(user, message_id)
    conversation = message.conversation
    tree = conversation.tree()
    below = tree.below(message.id)
    gone = conversation.messages.filter(pk__in=below)
    stopped = tuple(gone.streaming().values_list("pk", flat=True))
    moment = now()
    gone.update(deleted_at=moment, stop_requested_at=moment)
    if conversation.leaf_id in below:
        others = [each for each in tree.versions_of(message.id) if each != message.id]
        leaf = tree.newest_leaf_below(others[-1]) if others else message.parent_id
        look_at(conversation, leaf)
    return Change(conversation.id, message.parent_id, stopped)


@transaction.atomic
def restore(user: User, message_id: uuid.UUID) -> Change:
    """Bring back what `delete` took away with this message, and show it.

    Raises `ConversationNotFound`, also where it was purged, or what it belongs to was
    deleted since.
    """
    rows = Message.objects.filter(pk=message_id, conversation__user=user)
    row = rows.exclude(deleted_at=None).first()
    if row is None:
        raise ConversationNotFound
    conversation = locked_conversation(user, row.conversation_id)
    # One deletion has one moment: what was deleted below it before stays away.
    conversation.messages.filter(deleted_at=row.deleted_at).update(deleted_at=None)
    tree = conversation.tree()
    if row.parent_id and row.parent_id not in tree:
        raise ConversationNotFound
    look_at(conversation, tree.newest_leaf_below(row.id))
    return Change(conversation.id, row.parent_id)


def look_at(conversation: Conversation, leaf_id: uuid.UUID | None) -> None:
    """Have the conversation show the path to this message."""
    conversation.leaf_id = leaf_id
    conversation.save(update_fields=["leaf"])
