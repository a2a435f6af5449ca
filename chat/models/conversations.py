"""Conversations and their messages, as rows.

A message has a parent, so an edit or a regenerated answer is a branch beside the older
one, never a loss. A conversation remembers the leaf that is being looked at.
"""

import uuid
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from chat.trees import MessageTree
from controller.models import User


class Folder(models.Model):
    """Where a user keeps conversations together."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="folders"
    )
    name = models.CharField(max_length=80)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="folder_named_once")
        ]

    def __str__(self) -> str:
        return str(self.pk)


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def of(self, user: User) -> Self:
        """This user's conversations: every fetch goes through here.

        What is deleted is not among them, although it may still be brought back.
        """
        return self.filter(user=user, deleted_at=None)

    def deleted_by(self, user: User) -> Self:
        """What the user deleted and nothing has purged yet."""
        return self.filter(user=user, deleted_at__isnull=False)

    def kept(self) -> Self:
        """Those that lists, search, exports and links know: not the temporary."""
        return self.filter(is_temporary=False)


class Conversation(models.Model):
    class TitledBy(models.TextChoices):
        WORDS = "words"  # the first ones of its first prompt
        MODEL = "model"
        PERSON = "person"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="conversations"
    )
    title = models.CharField(max_length=200)
    titled_by = models.CharField(
        max_length=6,
        choices=TitledBy,
        default=TitledBy.WORDS,
        db_default=TitledBy.WORDS,
        editable=False,
    )
    # The served model, or alias, that was asked last: the picker's next choice.
    model = models.CharField(max_length=200)
    leaf = models.ForeignKey(
        "Message", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    folder = models.ForeignKey(
        Folder, models.SET_NULL, null=True, blank=True, related_name="conversations"
    )
    # Hidden from lists and search, and deleted with its messages when its page is left.
    is_temporary = models.BooleanField(default=False, db_default=False, editable=False)
    # What an imported one was called elsewhere, so that it is taken once; else "".
    imported_key = models.CharField(
        max_length=200, blank=True, default="", db_default="", editable=False
    )
    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(default=now, editable=False)
    pinned_at = models.DateTimeField(null=True, blank=True, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Deleted for its owner from now on; a task purges it after CHAT_KEEP_DELETED.
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(titled_by__in=["words", "model", "person"]),
                name="conversation_titled_by_known",
            ),
            models.UniqueConstraint(
                fields=["user", "imported_key"],
                condition=~Q(imported_key=""),
                name="conversation_imported_once",
            ),
        ]
        indexes = [
            # the sidebar: one user's conversations, latest first
            models.Index(fields=["user", "-updated_at"], name="conversations_of_user"),
            # what the purge looks for: few rows of many
            models.Index(
                fields=["deleted_at"],
                name="conversations_deleted",
                condition=Q(deleted_at__isnull=False),
            ),
            models.Index(
                fields=["updated_at"],
                name="conversations_temporary",
                condition=Q(is_temporary=True),
            ),
            # the purge and its preview: the oldest, and those that are due
            models.Index(
                fields=["updated_at"],
                name="conversations_by_age",
                condition=Q(is_temporary=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def tree(self) -> MessageTree:
        """The shape of all its branches; one query, which reads no texts."""
        links = self.messages.kept().order_by("created_at", "id")
        return MessageTree(links.values_list("id", "parent_id"))

    def path(self, leaf_id: uuid.UUID | None = None) -> list["Message"]:
        """The messages from the root to `leaf_id`, else to the leaf; [] without one.

        Two queries, of which the second reads the texts of this path alone.
        """
        return self.messages_of(self.tree().path_to(leaf_id or self.leaf_id))

    def messages_of(self, ids: list[uuid.UUID]) -> list["Message"]:
        """These messages, in this order; one query."""
        by_id = {message.id: message for message in self.messages.filter(pk__in=ids)}
        return [by_id[each] for each in ids]


class MessageQuerySet(models.QuerySet["Message"]):
    def of(self, user: User) -> Self:
        """This user's messages: every fetch goes through here."""
        return self.kept().filter(
            conversation__user=user, conversation__deleted_at=None
        )

    def kept(self) -> Self:
        """Those that were not deleted; what is below a deleted one was too."""
        return self.filter(deleted_at=None)

    def streaming(self) -> Self:
        """Answers that a process is writing, or died in writing."""
        return self.filter(state=Message.State.STREAMING)

    def settle_interrupted(self) -> int:
        """Close the answers whose process went silent; how many there were.

        What was produced stays. Should that process live after all (its database
        was stuck), its last write sets the true ending.
        """
        silent = Q(written_at__lt=now() - settings.CHAT_INTERRUPTED_AFTER)
        return self.streaming().filter(silent).update(state=Message.State.INTERRUPTED)


class Message(models.Model):
    class Role(models.TextChoices):
        SYSTEM = "system"
        USER = "user"
        ASSISTANT = "assistant"

    class State(models.TextChoices):
        STREAMING = "streaming"
        COMPLETE = "complete"
        STOPPED = "stopped"
        INTERRUPTED = "interrupted"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="messages"
    )
    parent = models.ForeignKey(
        "self", models.CASCADE, null=True, blank=True, related_name="replies"
    )
    role = models.CharField(max_length=10, choices=Role)
    content = models.TextField(blank=True)
    # What the model thought before it answered; it is not told of that again.
    reasoning = models.TextField(blank=True, default="", db_default="")
    reasoning_seconds = models.FloatField(null=True)
    # The attachments, as `Attachment.fields` has them: shown without another query.
    attached = models.JSONField(default=list, db_default=[], blank=True)
    model = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=12, choices=State, default=State.COMPLETE)
    error = models.TextField(blank=True)
    error_code = models.CharField(max_length=50, blank=True)
    finish_reason = models.CharField(max_length=30, blank=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    cost_nanos = models.BigIntegerField("cost in billionths", null=True)
    ttft_seconds = models.FloatField(null=True)
    duration_seconds = models.FloatField(null=True)
    # The same id as the ledger's row and the engine's log.
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    # The heartbeat of the process that writes this answer.
    written_at = models.DateTimeField(default=now, editable=False)
    # Wishes of other web processes, which the writing one reads when it writes.
    stop_requested_at = models.DateTimeField(null=True, editable=False)
    attended_at = models.DateTimeField(null=True, editable=False)
    # Taken away by its owner, with all below it, and purged after a while.
    deleted_at = models.DateTimeField(null=True, editable=False)
    # What its reader thinks of it: 1, -1 or nothing.
    rating = models.SmallIntegerField(null=True)
    rating_reason = models.TextField(blank=True, default="", db_default="")
    rated_at = models.DateTimeField(null=True, editable=False)
    flagged_at = models.DateTimeField(null=True, editable=False)

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(role__in=["system", "user", "assistant"]),
                name="message_role_known",
            ),
            models.CheckConstraint(
                condition=Q(
                    state__in=[
                        "streaming",
                        "complete",
                        "stopped",
                        "interrupted",
                        "failed",
                    ]
                ),
                name="message_state_known",
            ),
            models.CheckConstraint(
                condition=Q(rating__in=[-1, 1]) | Q(rating=None),
                name="message_rating_known",
            ),
        ]
        indexes = [
            # the few that a process is writing; SQLite, which binds the state as a
            # parameter, would not use a partial index
            models.Index(fields=["state", "written_at"], name="messages_by_state"),
            # the purge: few rows are marked, and SQLite skips those that are not
            models.Index(
                fields=["deleted_at"],
                name="messages_deleted",
                condition=Q(deleted_at__isnull=False),
            ),
            # the console's list and counts of ratings: few messages have one
            models.Index(
                fields=["rated_at", "id"],
                name="messages_rated",
                condition=Q(rating__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_streaming(self) -> bool:
        return self.state == self.State.STREAMING

    @property
    def is_cut(self) -> bool:
        """It ended before the model had said all it wanted to."""
        ended_early = {self.State.STOPPED, self.State.INTERRUPTED, self.State.FAILED}
        return self.state in ended_early or self.finish_reason == "length"

    @property
    def can_go_on(self) -> bool:
        """There is something of it, and more was to come."""
        return self.is_cut and bool(self.content)

    @property
    def is_silent(self) -> bool:
        """Streaming by its state, while its process has gone silent."""
        silence = now() - self.written_at
        return self.is_streaming and silence > settings.CHAT_INTERRUPTED_AFTER
