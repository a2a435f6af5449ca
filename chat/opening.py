"""What a page shows of a conversation: the end of its path, the pages before that, and
the answers that stand side by side."""

import uuid
from dataclasses import dataclass

from chat.errors import ConversationNotFound
from chat.models import Comparison, Conversation, Message
from chat.paging import last_page
from chat.trees import MessageTree
from controller.models import User


@dataclass(frozen=True, slots=True)
class Compared:
    """Answers of several models to the last prompt, as they stand side by side."""

    comparison: Comparison
    columns: dict[Message, int]
    """The answers shown, and which of the comparison's columns each is in."""

    @property
    def answers(self) -> list[Message]:
        return list(self.columns)

    def versions_of(self, answer: Message, tree: MessageTree) -> list[uuid.UUID]:
        """The answer and others of its column, oldest first."""
        ids = map(uuid.UUID, self.comparison.columns[self.columns[answer]])
        return [each for each in ids if each in tree]


@dataclass(frozen=True, slots=True)
class OpenedConversation:
    conversation: Conversation
    path: list[Message]
    """A page of the messages from root to leaf, their last if no others were wanted."""
    tree: MessageTree
    compared: Compared | None = None
    """Where the path ends in one of several answers that are shown side by side."""

    @property
    def shown(self) -> list[Message]:
        """All messages that the page shows, each once."""
        beside = self.compared.answers if self.compared else []
        return [*self.path, *(each for each in beside if each is not self.path[-1])]

    @property
    def has_earlier(self) -> bool:
        """There are messages before these."""
        return bool(self.path) and self.path[0].parent_id is not None


def open_path(user: User, conversation_id: uuid.UUID) -> OpenedConversation:
    """The user's conversation and the end of its path; four queries, and two more where
    it ends side by side.

    Raises `ConversationNotFound`. Answers whose process died are settled first; else
    nothing is written.
    """
    own = Conversation.objects.of(user).select_related("setup_row")
    conversation = own.filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationNotFound
    opened = _read_path(conversation)
    if any(message.is_silent for message in opened.shown):
        conversation.messages.settle_interrupted()
        opened = _read_path(conversation)
    return opened


def _read_path(conversation: Conversation) -> OpenedConversation:
    tree = conversation.tree()
    ids = last_page(conversation, tree.path_to(conversation.leaf_id))
    path = conversation.messages_of(ids)
    compared = _compared_at_end(path, tree)
    return OpenedConversation(conversation, path, tree, compared)


def _compared_at_end(path: list[Message], tree: MessageTree) -> Compared | None:
    if not path or len(tree.versions_of(path[-1].id)) < 2:
        return None
    end = path[-1]
    comparison = Comparison.objects.filter(prompt=end.parent_id).first()
    if comparison is None or comparison.column_of(end.id) is None:
        return None
    shown = _shown_columns(comparison, tree, end.id)
    if len(shown) < 2:
        return None
    others = end.conversation.messages_of([each for each in shown if each != end.id])
    by_id = {end.id: end} | {each.id: each for each in others}
    return Compared(comparison, {by_id[each]: place for each, place in shown.items()})


def _shown_columns(
    comparison: Comparison, tree: MessageTree, chosen: uuid.UUID
) -> dict[uuid.UUID, int]:
    """The answer that each column shows, and the column's place. It is the chosen one
    there, else the one looked at last, or what is left of others; a column of which all
    was deleted is left out."""
    shown = {}
    for place, ids in enumerate(comparison.columns):
        kept = [each for each in map(uuid.UUID, ids) if each in tree]
        last = uuid.UUID(comparison.answers[place])
        wanted = (each for each in (chosen, last) if each in kept)
        if kept:
            shown[next(wanted, kept[-1])] = place
    return shown


def open_earlier(
    user: User, conversation_id: uuid.UUID, before: uuid.UUID
) -> OpenedConversation:
    """The page of messages that led to the message `before`; four queries.

    Raises `ConversationNotFound`, also where it has no such message.
    """
    conversation = Conversation.objects.of(user).filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationNotFound
    tree = conversation.tree()
    if before not in tree:
        raise ConversationNotFound
    ids = last_page(conversation, tree.path_to(before)[:-1])
    return OpenedConversation(conversation, conversation.messages_of(ids), tree)
