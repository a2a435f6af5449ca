"""How fast one person may ask: each question is a row, whatever becomes of its answer.

Limits of tokens and requests are asked when the answer begins, which is after the
question was kept. Without this, a script could fill the database with refused ones.
"""

from collections import OrderedDict

from django.conf import settings

from chat.errors import TooManyQuestions
from controller.limits.windows import Bucket

MAX_KNOWN = 10_000  # people; whoever was longest quiet is forgotten, with a full bucket


class Pace:
    """What each person may ask of this process in a minute."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[int, Bucket] = OrderedDict()

    def take(self, user_id: int) -> None:
        """Count a question; raises `TooManyQuestions`."""
        bucket = self._bucket_of(user_id)
        if not bucket.take_here(1):
            raise TooManyQuestions(bucket.per_minute, bucket.seconds_until(1))

    def _bucket_of(self, user_id: int) -> Bucket:
        bucket = self._buckets.pop(user_id, None)
        if bucket is None:
            bucket = Bucket(settings.CHAT_MAX_QUESTIONS)
        self._buckets[user_id] = bucket
        if len(self._buckets) > MAX_KNOWN:
            self._buckets.popitem(last=False)
        return bucket


pace = Pace()
