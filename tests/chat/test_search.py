"""Search over messages, on both databases: what is found, whose, and by the index."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat import library, search
from chat.answers import Draft, Ending, settle
from chat.conversations import begin_turn
from chat.models import Conversation, Message, SearchEntry
from chat.search_terms import MAX_BYTES, query_terms, terms_of
from tests.chat.talks import said
from tests.factories import make_user

State = Message.State


@pytest.fixture
def user(database):
    return make_user()


def found(user, query, **page):
    """(role, marked text) of each hit that is no title's."""
    hits = search.search(user, query, **page).hits
    return [(hit.role, marked(hit.snippet)) for hit in hits if hit.role]


def marked(snippet):
    return "".join(f"[{part.text}]" if part.is_match else part.text for part in snippet)


def test_words_are_found_in_prompts_and_answers_whatever_their_case(user):
    said(user, "Where is the Signal box?", "Behind the station.")

    assert found(user, "signal BOX") == [("user", "Where is the [Signal] [box]?")]
    assert found(user, "stat") == [("assistant", "Behind the [stat]ion.")]
    assert found(user, "signal station") == found(user, "tatio") == []


def test_chinese_is_found_by_any_two_characters_and_by_one(user):
    said(user, "如何部署大语言模型？", "用一条命令。")

    assert found(user, "语言模型") == [("user", "如何部署大[语言模型]？")]
    assert found(user, "言模") == [("user", "如何部署大语[言模]型？")]
    assert found(user, "令") == [("assistant", "用一条命[令]。")]
    assert found(user, "模语") == []


def test_a_search_finds_only_ones_own_messages(user):
    said(make_user(), "a secret of somebody else")

    assert found(user, "secret") == []
    assert search.search(user, f"secret {search.OWNER}1").hits == []


def test_what_is_deleted_is_not_found_until_it_is_brought_back(user):
    turn = said(user, "lost luggage")

    library.delete(user, [turn.conversation_id])
    while_deleted = found(user, "luggage")
    library.restore(user, [turn.conversation_id])

    assert while_deleted == []
    assert found(user, "luggage") == [("user", "lost [luggage]")]


def test_a_changed_text_is_found_by_its_new_words_and_a_purged_one_by_none(user):
    turn = said(user, "one", "the old words")

    settle(turn.message_id, Draft("the new words"), Ending(State.COMPLETE))

    assert found(user, "old") == []
    assert found(user, "new") == [("assistant", "the [new] words")]
    Conversation.objects.all().delete()
    assert found(user, "new") == []
    assert SearchEntry.objects.count() == 0


def test_pages_follow_each_other_without_gap_or_repetition(user):
    turn = said(user, "train 0")
    for number in range(1, 2 * search.PAGE + 5):
        said(user, f"train {number}", "yes", turn.conversation_id)

    first = search.search(user, "train")
    second = search.search(user, "train", before=first.before)
    third = search.search(user, "train", before=second.before)

    hits = [hit for page in (first, second, third) for hit in page.hits if hit.role]
    assert len(hits) == len({marked(hit.snippet) for hit in hits}) == 45
    assert [len(page.hits) for page in (second, third)] == [20, 5]
    assert third.before is None


def test_titles_are_found_too(user):
    turn = said(user, "hello")
    library.rename(user, turn.conversation_id, "Timetable of 1912")

    hit = search.search(user, "timetable").hits[0]

    assert (hit.conversation.id, hit.role) == (turn.conversation_id, "")
    assert marked(hit.snippet) == "[Timetable] of 1912"


@pytest.mark.parametrize(
    "query", ["", "?!", "'", '"', "a\x00b", "a & | ! b:*", "NEAR(", "\\", "%", "𠀀𠀁"]
)
def test_no_query_is_an_error(user, query):
    said(user, "ordinary words")

    assert found(user, query) == []


def test_what_a_dead_process_left_is_indexed_by_the_task(user):
    turn = begin_turn(user, None, "mock-1", "hello")
    rows = Message.objects.filter(pk=turn.message_id)
    rows.update(content="half an ans", state=State.INTERRUPTED)
    assert found(user, "half") == []

    assert search.index_missing(timedelta(hours=1)) == 1
    assert search.index_missing(timedelta(hours=1)) == 0

    assert found(user, "half") == [("assistant", "[half] an ans")]


def test_the_widest_text_can_be_indexed(user):
    words = " ".join(f"w{number}" for number in range(120_000))
    han = "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(200_000))

    said(user, han, words)

    assert len(" ".join(terms_of(words)).encode()) <= MAX_BYTES
    assert [role for role, _ in found(user, "w11")] == ["assistant"]
    assert [role for role, _ in found(user, han[100:103])] == ["user"]


def test_a_hundred_thousand_messages_are_searched_by_the_index(user, database):
    many_messages(user, make_user(), 100_000)

    with CaptureQueriesContext(connection) as queries:
        hits = search.search(user, "needle 信号").hits

    assert SearchEntry.objects.count() > 100_000
    assert [hit.role for hit in hits] == ["", "user"]  # of its title, of its text
    assert marked(hits[1].snippet) == "word7 [needle] [信号]灯"
    plans = [plan_of(query["sql"]) for query in queries]
    assert len(plans) == 2
    of_messages = next(plan for plan in plans if "chat_search" in plan)
    if database == "sqlite":
        assert "SCAN chat_search VIRTUAL TABLE INDEX" in of_messages
        assert "SCAN chat_message" not in of_messages
        assert "SCAN chat_searchentry" not in of_messages
    else:
        assert "Bitmap Index Scan on chat_search" in of_messages
        assert "Seq Scan on chat_message" not in of_messages
        assert "Seq Scan on chat_searchentry" not in of_messages


def many_messages(user, other, number):
    """Half of them this user's; one holds what is looked for, and another's too.

    The database multiplies a few: through the ORM it would take a minute. Their texts
    are terms already.
    """
    talks = [
        Conversation.objects.create(user=each, title="t", model="m")
        for each in (user, other)
    ]
    Message.objects.bulk_create(
        Message(conversation=talks[at % 2], role="user", content=f"word{at} word7")
        for at in range(400)
    )
    columns = [field.column for field in Message._meta.concrete_fields][1:]
    new_id = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "gen_random_uuid()"}
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO chat_message (id, {', '.join(columns)})"
            f" SELECT {new_id[connection.vendor]}, a.{', a.'.join(columns)}"
            f" FROM chat_message a, chat_message b LIMIT {number}"
        )
        cursor.execute(
            "INSERT INTO chat_searchentry (message_id, terms)"
            f" SELECT m.id, '{search.OWNER}' || c.user_id || ' ' || m.content"
            " FROM chat_message m JOIN chat_conversation c ON c.id = m.conversation_id"
        )
        for each in (user, other):
            said(each, "word7 needle 信号灯")
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE chat_message, chat_searchentry")


def plan_of(sql):
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {sql}".replace("%", "%%"), [])
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_terms_are_words_and_pairs_without_case_and_width():
    assert terms_of("Straße ＡＢＣ don't") == ["strasse", "abc", "don", "t"]
    assert terms_of("模型很好 ok 模型") == ["模型", "型很", "很好", "好", "ok", "型"]
    assert query_terms("my big en") == (["my"], ["big", "en"])
    assert query_terms("en ") == (["en"], [])
    assert query_terms("好") == ([], ["好"])
