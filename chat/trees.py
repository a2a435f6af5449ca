"""The shape of a conversation: which message answers which, without their texts."""

import uuid
from collections.abc import Iterable

Id = uuid.UUID


class MessageTree:
    """Messages by their parents. The versions of a message are those beside it: edits
    of one prompt, or answers to one."""

    def __init__(self, links: Iterable[tuple[Id, Id | None]]) -> None:
        """`links` are (message, parent), oldest first."""
        self._parents = dict(links)
        self._replies: dict[Id | None, list[Id]] = {}
        for message, parent in self._parents.items():
            self._replies.setdefault(parent, []).append(message)

    def __contains__(self, message: Id) -> bool:
        return message in self._parents

    def path_to(self, leaf: Id | None) -> list[Id]:
        """The messages from the root to `leaf`; [] without one."""
        path = []
        while leaf in self._parents:
            path.append(leaf)
            leaf = self._parents[leaf]
        return path[::-1]

    def versions_of(self, message: Id) -> list[Id]:
        """The message and those beside it, oldest first."""
        return self._replies[self._parents[message]]

    def below(self, message: Id) -> list[Id]:
        """The message, and all that followed from it."""
        found = [message]
        for each in found:
            found += self._replies.get(each, ())
        return found

    def newest_leaf_below(self, message: Id) -> Id:
        """The end of the path that takes the newest reply each time."""
        while replies := self._replies.get(message):
            message = replies[-1]
        return message
