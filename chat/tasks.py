"""What the task worker does for the chat; CELERY_BEAT_SCHEDULE says when."""

import logging
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils.timezone import now

from chat import branches, library, search
from chat.composing.attachments import prune_unsent

logger = logging.getLogger(__name__)

# A draft that is gone on with tomorrow still has its attachments.
UNSENT_KEPT = timedelta(days=7)
# More than two rounds of the schedule, and a while of the task worker's absence.
INDEX_WITHIN = timedelta(hours=6)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def purge_branches() -> None:
    """Delete for good what its owner took away longer than CHAT_KEEP_DELETED ago."""
    before = now() - settings.CHAT_KEEP_DELETED
    if num_purged := branches.purge(before):
        logger.info(
            "purged %d messages that were deleted before %s", num_purged, before
        )


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def prune_attachments() -> None:
    """Delete files that were attached and never sent."""
    if num_pruned := prune_unsent(now() - UNSENT_KEPT):
        logger.info("pruned %d attachments that were never sent", num_pruned)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def purge_conversations() -> None:
    """Delete for good what was deleted CHAT_KEEP_DELETED ago, and temporary
    conversations that nobody has used for CHAT_TEMPORARY_EXPIRY."""
    num_deleted, num_temporary = library.purge()
    if num_deleted or num_temporary:
        logger.info(
            "purged %d deleted and %d temporary conversations",
            num_deleted,
            num_temporary,
        )


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def index_messages() -> None:
    """Have search find the answers whose process died before it could index them."""
    if num_indexed := search.index_missing(INDEX_WITHIN):
        logger.info("indexed %d messages that were not", num_indexed)
