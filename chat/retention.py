"""Which rows of the chat are deleted with age."""

from datetime import datetime

from django.conf import settings
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from chat.composing.models import Attachment
from chat.models import Conversation, Message, SharedLink
from controller.retention import Kind, days_of, ended

# Each goes with all its messages: in small transactions others write on SQLite too.
CONVERSATIONS_AT_ONCE = 50


def _undoable_since() -> datetime:
    return now() - settings.CHAT_KEEP_DELETED


def _used_since() -> datetime:
    return now() - settings.CHAT_TEMPORARY_EXPIRY


KINDS = (
    Kind(
        name="conversations",
        label=_("conversations"),
        setting="CHAT_RETENTION_DAYS",
        rows=Conversation.objects.kept,
        before=days_of("CHAT_RETENTION_DAYS"),
        dated_by="updated_at",
        batch_size=CONVERSATIONS_AT_ONCE,
    ),
    Kind(
        name="deleted conversations",
        label=_("deleted conversations"),
        setting="CHAT_KEEP_DELETED",
        rows=lambda: Conversation.objects.exclude(deleted_at=None),
        before=_undoable_since,
        dated_by="deleted_at",
        batch_size=CONVERSATIONS_AT_ONCE,
    ),
    Kind(
        name="temporary conversations",
        label=_("temporary conversations that were left"),
        setting="CHAT_TEMPORARY_EXPIRY",
        rows=lambda: Conversation.objects.filter(is_temporary=True),
        before=_used_since,
        dated_by="updated_at",
        batch_size=CONVERSATIONS_AT_ONCE,
    ),
    Kind(
        name="deleted messages",
        label=_("deleted messages"),
        setting="CHAT_KEEP_DELETED",
        rows=lambda: Message.objects.exclude(deleted_at=None),
        before=_undoable_since,
        dated_by="deleted_at",
        batch_size=1_000,
    ),
    Kind(
        name="unsent attachments",
        label=_("attachments that were never sent"),
        setting="CHAT_UNSENT_RETENTION_DAYS",
        rows=Attachment.objects.unsent,
        before=days_of("CHAT_UNSENT_RETENTION_DAYS"),
        dated_by="created_at",
        batch_size=50,
    ),
    Kind(
        name="shared links",
        label=_("shared links that ended"),
        setting="ENDED_RETENTION_DAYS",
        rows=SharedLink.objects.all,
        before=days_of("ENDED_RETENTION_DAYS"),
        dated_by="created_at",
        due_when=ended,
        takes_oldest_first=False,
    ),
)
