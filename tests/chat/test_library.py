"""Lists, names, folders, archive, delete and undo; whose they are."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from chat import library
from chat.conversations import begin_turn
from chat.errors import ConversationNotFound
from chat.models import Conversation, Folder, Message
from chat.opening import open_path
from controller import retention
from tests.chat.talks import Library, client_of, said
from tests.factories import make_user


@pytest.fixture
def user(db):
    return make_user()


@pytest.fixture
def talk(user):
    return said(user, "hello").conversation_id


def listed(user, **query):
    _, answer = Library(user).get("conversations", **query)
    return [each["id"] for each in answer["conversations"]]


def make_conversations(user, number):
    """Of which several were last used at the same moment."""
    moment = now()
    return Conversation.objects.bulk_create(
        Conversation(
            user=user,
            title=f"talk {at}",
            model="m",
            updated_at=moment - timedelta(hours=at // 3),
        )
        for at in range(number)
    )


def test_more_than_two_hundred_conversations_are_listed_page_by_page(user):
    rows = make_conversations(user, 250)
    make_conversations(make_user(), 5)
    seen, after, sizes = [], None, []

    while after is not None or not sizes:
        query = {"after": after} if after else {}
        _, page = Library(user).get("conversations", **query)
        seen += [each["id"] for each in page["conversations"]]
        sizes.append(len(page["conversations"]))
        after = page["next"]

    assert sorted(seen) == sorted(str(row.id) for row in rows)
    assert sizes == [60, 60, 60, 60, 10]


def test_a_list_costs_as_many_queries_however_long_it_is(user):
    counts = []
    for number in (1, 100):
        make_conversations(user, number)
        api = Library(user)
        with CaptureQueriesContext(connection) as queries:
            api.get("conversations")
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 4


def test_pinned_filed_and_archived_ones_leave_the_list_by_day(user):
    ids = [said(user, f"talk {number}").conversation_id for number in range(4)]
    folder = library.make_folder(user, "Work")
    api = Library(user)

    assert api.change("pin", conversations=[ids[0]], is_pinned=True)[0] == 200
    assert api.change("move", conversations=[ids[1]], folder=folder.id)[0] == 200
    assert api.change("archive", conversations=[ids[2]], is_archived=True)[0] == 200

    assert listed(user) == [str(ids[3])]
    assert listed(user, folder=folder.id) == [str(ids[1])]
    assert [each.id for each in library.pinned(user)] == [ids[0]]
    assert [each.id for each in library.archived(user)] == [ids[2]]
    api.change("move", conversations=[ids[1]], folder=None)
    assert listed(user) == [str(ids[3]), str(ids[1])]


def test_a_title_is_one_line_and_never_blank(user, talk):
    status, answer = Library(user).change("rename", conversation=talk, title=" a\n b ")
    refused, error = Library(user).change("rename", conversation=talk, title=" \x00 ")

    assert (status, answer["title"]) == (200, "a b")
    assert (refused, error["error"]["code"]) == (400, "blank_name")
    assert Conversation.objects.get().titled_by == "person"


def test_a_deleted_conversation_is_gone_everywhere_and_comes_back_by_undo(user, talk):
    api = Library(user)

    api.change("delete", conversations=[talk])
    while_deleted = listed(user)
    with pytest.raises(ConversationNotFound):
        open_path(user, talk)
    with pytest.raises(ConversationNotFound):
        begin_turn(user, talk, "mock-1", "more")
    status, _ = api.change("restore", conversations=[talk])

    assert (while_deleted, status) == ([], 200)
    assert listed(user) == [str(talk)]
    assert len(open_path(user, talk).path) == 2


def test_deleting_stops_the_answer_in_progress(user):
    turn = begin_turn(user, None, "mock-1", "hello")

    library.delete(user, [turn.conversation_id])

    assert Message.objects.get(pk=turn.message_id).stop_requested_at is not None


def test_what_was_deleted_is_purged_when_its_time_is_over(user, settings):
    old, recent = said(user, "old"), said(user, "recent")
    library.delete(user, [old.conversation_id, recent.conversation_id])
    long_ago = now() - settings.CHAT_KEEP_DELETED - timedelta(seconds=1)
    Conversation.objects.filter(pk=old.conversation_id).update(deleted_at=long_ago)

    retention.purge("deleted conversations")

    assert Conversation.objects.get().id == recent.conversation_id
    assert Message.objects.count() == 2


def test_many_are_changed_at_once_and_only_ones_own(user, talk):
    others = said(make_user(), "not yours").conversation_id
    also = said(user, "two").conversation_id

    _, answer = Library(user).change("delete", conversations=[talk, also, others])

    assert answer == {"changed": 2}
    assert Conversation.objects.get(deleted_at=None).id == others


def test_a_deleted_folder_gives_its_conversations_back_to_the_list(user, talk):
    api = Library(user)
    _, folder = api.change("new_folder", name="Work")
    api.change("move", conversations=[talk], folder=folder["id"])

    assert api.change("rename_folder", folder=folder["id"], name="Home")[0] == 200
    assert api.change("new_folder", name="Home")[0] == 409
    assert api.change("delete_folder", folder=folder["id"])[0] == 200

    assert listed(user) == [str(talk)]
    assert not Folder.objects.exists()


def test_another_users_conversation_or_folder_is_404_by_every_way(user, talk):
    folder = library.make_folder(user, "Work")
    other, mine = make_user(), None
    mine = said(other, "mine").conversation_id
    api = Library(other)
    one, some = {"conversation": talk}, {"conversations": [talk]}

    attempts = [
        api.change("rename", **one, title="x"),
        api.change("pin", **some, is_pinned=True),
        api.change("archive", **some, is_archived=True),
        api.change("move", **some, folder=None),
        api.change("move", conversations=[mine], folder=folder.id),
        api.change("delete", **some),
        api.change("restore", **some),
        api.change("end_temporary", **one),
        api.change("rename_folder", folder=folder.id, name="x"),
        api.change("delete_folder", folder=folder.id),
        api.get("conversations", folder=folder.id),
        api.post("share", conversation=str(talk)),
    ]

    assert [status for status, _ in attempts] == [404] * len(attempts)
    before = Conversation.objects.get(pk=talk)
    assert (before.title, before.deleted_at, before.folder) == ("hello", None, None)
    for kind in ("md", "json"):
        path = f"/c/{talk}/export.{kind}"
        assert client_of(other).get(path).status_code == 404
        assert client_of(user).get(path).status_code == 200
    assert api.get(f"links/{talk}")[1] == {"links": []}


def test_who_is_signed_out_is_told_so_and_gets_nothing(talk):
    assert Library(None).get("conversations")[0] == 401
    assert Library(None).change("delete", conversations=[talk])[0] == 401
    assert client_of().get(f"/c/{talk}/export.json").status_code == 302


@pytest.mark.parametrize(
    "body",
    [
        {"do": "delete", "conversations": ["x"]},
        {"do": "fly"},
        {"do": "delete", "conversations": [str(uuid.uuid4())] * 501},
        {"do": "rename_folder", "folder": 1},
    ],
)
def test_what_is_not_understood_is_refused(user, body):
    assert Library(user).post("change", **body)[0] == 400


def test_a_wrong_position_or_folder_in_the_address_is_refused(user):
    assert Library(user).get("conversations", after="yesterday")[0] == 400
    assert Library(user).get("conversations", folder="٣")[0] == 400
    assert Library(user).get("search", q="x", before="1e9")[0] == 400


def test_the_lists_page_acts_on_what_is_ticked(user, talk):
    also = said(user, "two").conversation_id
    client = client_of(user)

    client.post("/library/", {"do": "archive", "ids": [talk]})
    client.post("/library/", {"do": "delete", "ids": [also, "nonsense"]})
    client.post("/library/", {"do": "delete", "ids": [also]})

    assert b"hello" in client.get("/library/archived/").content
    assert b"two" in client.get("/library/deleted/").content
    assert b"hello" not in client.get("/library/").content
    client.post("/library/deleted/", {"do": "restore", "ids": [also]})
    assert listed(user) == [str(also)]
