"""What search reads, as rows."""

from django.db import models

from chat.models.conversations import Message


class SearchEntry(models.Model):
    """The words of one message, as `search_terms` cuts them, for the index.

    SQLite indexes `terms` by an FTS5 table that triggers fill, PostgreSQL by a GIN
    index: both are made by the migration `search` and asked through `chat.search`. The
    key grows with time, so that the latest is found first without sorting.
    """

    id = models.BigAutoField(primary_key=True)
    message = models.OneToOneField(Message, models.CASCADE, related_name="search_entry")
    terms = models.TextField()

    def __str__(self) -> str:
        return str(self.pk)
