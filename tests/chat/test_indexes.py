"""Pages of the console that read few rows of large tables find them by an index."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from chat.retention import KINDS
from controller import retention
from tests.factories import make_operator

pytestmark = pytest.mark.usefixtures("database")


def plans(queries, table):
    """How the database reads this table, for each query that does; the tables of tests
    are so small that PostgreSQL must be told to prefer an index."""
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    read = [query["sql"] for query in queries if f'FROM "{table}"' in query["sql"]]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        found = []
        for sql in read:
            cursor.execute(f"{explain} {sql}".replace("%", "%%"), [])
            found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
    return found


def test_the_ratings_are_found_among_all_messages(client):
    client.force_login(make_operator())

    with CaptureQueriesContext(connection) as queries:
        client.get(reverse("admin:chat_message_changelist"))

    found = plans(queries, "chat_message")
    assert len(found) == 2  # the rows, and the counts by model
    assert all("messages_rated" in plan for plan in found), found


def test_old_conversations_are_found_among_all(settings):
    settings.CHAT_RETENTION_DAYS = 30
    kind = next(kind for kind in KINDS if kind.name == "conversations")

    with CaptureQueriesContext(connection) as queries:
        retention.preview(kind, most=10_000)
        kind.purge()

    of_age = [
        plan
        for query in queries
        if "MIN(" in query["sql"] or "updated_at" in query["sql"]
        for plan in plans([query], "chat_conversation")
    ]
    assert len(of_age) == 3  # those that are due, twice, and the oldest
    assert all("conversations_by_age" in plan for plan in of_age), of_age
