"""What the task worker does for the chat; CELERY_BEAT_SCHEDULE says when."""

import logging
from datetime import timedelta

from celery import shared_task

from chat import search

logger = logging.getLogger(__name__)

# More than two rounds of the schedule, and a while of the task worker's absence.
INDEX_WITHIN = timedelta(hours=6)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def index_messages() -> None:
    """Have search find the answers whose process died before it could index them."""
    if num_indexed := search.index_missing(INDEX_WITHIN):
        logger.info("indexed %d messages that were not", num_indexed)
