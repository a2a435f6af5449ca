"""Full text search over what a user was asked and answered.

The index knows whole terms and beginnings of them (`search_terms`); who owns a message
is one more term, so that a search reads its user's rows and nobody else's.
"""

import re
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Lookup, TextField
from django.db.models.functions import Substr
from django.db.models.sql.compiler import SQLCompiler
from django.utils.timezone import now

from chat.models import Conversation, Message, SearchEntry
from chat.search_terms import query_terms, terms_of
from controller.models import User

# No text has this character in a term: it is of a private use area.
OWNER = "\ue000"
PAGE = 20
TITLES = 5
LONGEST_QUERY = 200
SNIPPET_BEFORE, SNIPPET_LENGTH = 40, 160
# Of a message's text, what is looked through to show where the terms are.
SHOWN_CHARS = 200_000
BATCH = 200


# -- the index ------------------------------------------------------------------------


def index(messages: Iterable[Message]) -> None:
    """Have these messages found by their present text. Select their conversations too.

    Empty ones, and those of temporary conversations, are not.
    """
    entries = [
        SearchEntry(message=message, terms=_indexed(message))
        for message in messages
        if message.content and not message.conversation.is_temporary
    ]
    SearchEntry.objects.bulk_create(
        entries,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["message"],
        update_fields=["terms"],
    )


def index_by_id(message_id: Any) -> None:
    """Have this message found, if it is still there."""
    index(Message.objects.filter(pk=message_id).select_related("conversation"))


def index_missing(since: timedelta | None = None) -> int:
    """Index the finished messages that nothing has indexed; how many there were.

    `since` looks at those only that were written within it: a process that died leaves
    the last of them.
    """
    missing = (
        Message.objects.filter(search_entry=None, conversation__is_temporary=False)
        .exclude(content="")
        .exclude(state=Message.State.STREAMING)
        .select_related("conversation")
        .order_by("created_at")
    )
    if since is not None:
        missing = missing.filter(
            state__in=set(Message.State) - {Message.State.STREAMING},
            written_at__gt=now() - since,
        )
    num_indexed = 0
    while batch := list(missing[:BATCH]):
        index(batch)
        num_indexed += len(batch)
    return num_indexed


def _indexed(message: Message) -> str:
    owner = f"{OWNER}{message.conversation.user_id}"
    return " ".join([owner, *terms_of(message.content)])


@TextField.register_lookup
class HasTerms(Lookup):
    """`terms__has_terms=(owner, whole, beginnings)`: answered by the index."""

    lookup_name = "has_terms"
    prepare_rhs = False

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        owner, whole, beginnings = self.rhs
        # Terms hold no quote: they are letters, digits and marks.
        wanted = [f'"{term}"' for term in (f"{OWNER}{owner}", *whole)]
        wanted += [f'"{beginning}"*' for beginning in beginnings]
        quoted = connection.ops.quote_name
        key = f"{quoted(self.lhs.alias)}.{quoted('id')}"
        return (
            f"{key} IN (SELECT rowid FROM chat_search"  # noqa: S608
            " WHERE chat_search MATCH %s)",
            [" AND ".join(wanted)],
        )

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        owner, whole, beginnings = self.rhs
        wanted = [f"'{term}'" for term in (f"{OWNER}{owner}", *whole)]
        wanted += [f"'{beginning}':*" for beginning in beginnings]
        column, params = self.process_lhs(compiler, connection)
        return (
            f"array_to_tsvector(string_to_array({column}, ' ')) @@ %s::tsquery",
            [*params, " & ".join(wanted)],
        )


# -- the search -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a snippet, and whether it is what was looked for."""

    text: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class Hit:
    conversation: Conversation
    role: str
    """Whose words they are; "" for a title."""
    said_at: datetime
    snippet: list[Part]
    message_id: uuid.UUID | None = None
    """None for a title."""


@dataclass(frozen=True, slots=True)
class Hits:
    hits: list[Hit]
    before: int | None
    """Where the next page begins; None on the last one."""


def search(user: User, query: str, before: int | None = None) -> Hits:
    """The user's messages that hold the words of `query`, latest first, a page of them.

    On the first page a few conversations come first whose titles hold the query. Two
    queries; a query without a letter finds nothing and costs none.
    """
    query = query.replace("\x00", "")[:LONGEST_QUERY].lstrip()
    whole, beginnings = query_terms(query)
    if not whole and not beginnings:
        return Hits([], None)
    found = SearchEntry.objects.filter(
        terms__has_terms=(user.pk, whole, beginnings),
        message__conversation__user=user,
        message__conversation__deleted_at=None,
        message__deleted_at=None,
    )
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(
        found.select_related("message__conversation")
        .annotate(text=Substr("message__content", 1, SHOWN_CHARS))
        .defer("terms", "message__content")
        .order_by("-pk")[: PAGE + 1]
    )
    pattern = pattern_of(query)
    hits = [] if before is not None else _titled(user, query, pattern)
    hits += [_hit(row, pattern) for row in rows[:PAGE]]
    return Hits(hits, rows[PAGE - 1].pk if len(rows) > PAGE else None)


def _titled(user: User, query: str, pattern: re.Pattern[str]) -> list[Hit]:
    conversations = Conversation.objects.of(user).kept()
    return [
        Hit(each, "", each.updated_at, snippet_of(each.title, pattern))
        for each in conversations.filter(title__icontains=query.strip())[:TITLES]
    ]


def _hit(row: SearchEntry, pattern: re.Pattern[str]) -> Hit:
    message = row.message
    return Hit(
        message.conversation,
        message.role,
        message.created_at,
        snippet_of(row.text, pattern),  # type: ignore[attr-defined]
        message.id,
    )


def pattern_of(query: str) -> re.Pattern[str]:
    """What is highlighted: the words of the query, and pairs where it has no spaces."""
    whole, beginnings = query_terms(query)
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", query))
    wanted = sorted({*words, *whole, *beginnings}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, wanted)), re.IGNORECASE)


def snippet_of(text: str, pattern: re.Pattern[str]) -> list[Part]:
    """About `SNIPPET_LENGTH` characters around the first match, on one line, in parts.

    The beginning where nothing matches as it is written (other widths of letters)."""
    first = pattern.search(text)
    start = max(0, first.start() - SNIPPET_BEFORE) if first else 0
    window = " ".join(text[start : start + SNIPPET_LENGTH].split())
    window = f"{'…' * (start > 0)}{window}{'…' * (start + SNIPPET_LENGTH < len(text))}"
    parts, at = [], 0
    for match in pattern.finditer(window):
        parts.append(Part(window[at : match.start()], is_match=False))
        parts.append(Part(match[0], is_match=True))
        at = match.end()
    parts.append(Part(window[at:], is_match=False))
    return [part for part in parts if part.text]
