"""What the task worker does for the chat."""

import logging

from celery import shared_task
from django.conf import settings
from django.utils.timezone import now

from chat import branches

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def purge_branches() -> None:
    """Delete for good what its owner took away longer than CHAT_KEEP_DELETED ago."""
    before = now() - settings.CHAT_KEEP_DELETED
    if num_purged := branches.purge(before):
        logger.info(
            "purged %d messages that were deleted before %s", num_purged, before
        )
