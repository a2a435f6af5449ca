"""What the task worker does for the chat."""

import logging
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils.timezone import now

from chat import branches
from chat.composing.attachments import prune_unsent

logger = logging.getLogger(__name__)

# A draft that is gone on with tomorrow still has its attachments.
UNSENT_KEPT = timedelta(days=7)


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
