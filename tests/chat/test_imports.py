"""Files of conversations: out and in again, from elsewhere, hostile ones, and twice."""

import io
import json
import zipfile
from datetime import UTC, datetime

import pytest
from asgiref.sync import async_to_sync
from django.core.files.uploadedfile import SimpleUploadedFile

from chat import library, search
from chat.conversations import begin_retry, begin_turn
from chat.errors import ImportTooLarge, NothingToImport
from chat.imports import taking
from chat.imports.shapes import ReadConversation, ReadMessage
from chat.imports.taking import import_file
from chat.models import Conversation, Folder, Message
from tests.chat.talks import client_of, said
from tests.factories import make_user

# A file of many is sent as it is read, on another connection.
exporting = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user(db):
    return make_user()


def imported(user, content, **zipped):
    """The summary of importing this JSON; with `name=`, from a zip that holds it so."""
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    if name := zipped.get("name"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("chat.html", "<p>")
            archive.writestr(name, encoded)
        encoded = buffer.getvalue()
    return import_file(user, io.BytesIO(encoded))


class Counted(dict):
    """Counts how often one of its values is asked for."""

    num_asked = 0

    def get(self, *key):
        self.num_asked += 1
        return super().get(*key)


def test_many_messages_below_many_empty_ones_are_each_looked_at_a_few_times():
    size = 500
    empty = [ReadMessage(f"e{n}", f"e{n - 1}", "system", "") for n in range(size)]
    said = [ReadMessage(f"s{n}", f"e{size - 1}", "user", "hm") for n in range(size)]
    messages = Counted({each.key: each for each in [*empty, *said]})
    read = ReadConversation("chatgpt:1", "Deep", messages)

    assert [each.parent for each in read.kept()] == [None] * size
    assert size <= messages.num_asked < 10 * size


def path_of(user, title):
    conversation = Conversation.objects.of(user).get(title=title)
    return [(each.role, each.content) for each in conversation.path()]


def node(key, parent, role=None, *parts, kind="text", **message):
    said = None
    if role:
        content = {"content_type": kind, "parts": list(parts)}
        said = {"author": {"role": role}, "content": content, **message}
    return {key: {"id": key, "parent": parent, "children": [], "message": said}}


CHATGPT = {
    "id": "talk-1",
    "conversation_id": "talk-1",
    "title": "Signals",
    "create_time": 1700000000.5,
    "update_time": 1700000100.0,
    "default_model_slug": "gpt-4o",
    "current_node": "e",
    "mapping": {
        **node("root", None),
        **node("hidden", "root", "system", ""),
        **node("a", "hidden", "user", "What is a signal?", create_time=1700000001.0),
        **node("b", "a", "assistant", "Version one"),
        **node("tool", "a", "assistant", "search()", recipient="web"),
        **node("found", "tool", "tool", "page", kind="tether_quote"),
        **node(
            "c", "found", "assistant", "Version two", metadata={"model_slug": "gpt-4o"}
        ),
        **node(
            "d",
            "c",
            "user",
            {"asset_pointer": "x"},
            "and this?",
            kind="multimodal_text",
        ),
        **node("e", "d", "assistant", "A picture.", "Nice."),
    },
}
OPEN_WEBUI = {
    "id": "w-1",
    "title": "Points",
    "created_at": 1700000000,
    "updated_at": 1700000000,
    "chat": {
        "models": ["llama3"],
        "history": {
            "currentId": "3",
            "messages": {
                "1": {"id": "1", "parentId": None, "role": "user", "content": "hi"},
                "2": {"id": "2", "parentId": "1", "role": "assistant", "content": "A"},
                "3": {
                    "id": "3",
                    "parentId": "1",
                    "role": "assistant",
                    "content": "B",
                    "model": "llama3",
                    "timestamp": 1700000009,
                },
            },
        },
    },
}


def test_chatgpts_tree_keeps_branches_and_says_what_is_no_text(user):
    summary = imported(user, [CHATGPT])

    assert path_of(user, "Signals") == [
        ("user", "What is a signal?"),
        ("assistant", "Version two"),
        ("user", "and this?"),
        ("assistant", "A picture.\n\nNice."),
    ]
    assert Message.objects.filter(content="Version one").count() == 1
    assert (summary.num_taken, summary.num_messages) == (1, 5)
    assert summary.num_parts_left_out == 3  # a tool's call, its answer, an image
    talk = Conversation.objects.get()
    assert (talk.model, talk.created_at.year) == ("gpt-4o", 2023)


@pytest.mark.parametrize(
    "name", ["conversations.json", "export/conversations-000.json"]
)
def test_chatgpts_zip_is_read_too(user, name):
    assert imported(user, [CHATGPT], name=name).num_taken == 1


def test_open_webuis_tree_and_its_old_list_are_read(user):
    listed = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "ok"},
    ]
    old = {"id": "w-2", "title": "Old", "chat": {"messages": listed}}

    summary = imported(user, [OPEN_WEBUI, old])

    assert summary.num_taken == 2
    assert path_of(user, "Points") == [("user", "hi"), ("assistant", "B")]
    assert path_of(user, "Old") == [("user", "old"), ("assistant", "ok")]
    assert Message.objects.filter(content="A").exists()


@exporting
def test_our_own_export_comes_back_whole_elsewhere_and_not_at_all_here(user):
    turn = said(user, "a question", "first")
    again = begin_retry(user, turn.message_id, "")
    Message.objects.filter(pk=again.message_id).update(
        content="second", state="complete"
    )
    folder = library.make_folder(user, "Work")
    library.move(user, [turn.conversation_id], folder.pk)
    content = exported(user, "/library/conversations.json")
    other = make_user()

    here, there = imported(user, content), imported(other, content)

    assert (here.num_taken, here.num_known) == (0, 1)
    assert (there.num_taken, there.num_messages) == (1, 3)
    assert path_of(other, "a question") == path_of(user, "a question")
    assert Message.objects.of(other).filter(content="first").exists()
    assert Folder.objects.get(user=other).name == "Work"
    assert exported(user, f"/c/{turn.conversation_id}/export.json") != b""


def exported(user, path):
    response = client_of(user).get(path)
    assert response.status_code == 200
    return collected(response) if response.streaming else response.content


@async_to_sync
async def collected(response):
    return b"".join([block async for block in response])


def test_nothing_is_taken_twice(user):
    nameless = {**OPEN_WEBUI, "id": None}

    first = imported(user, [CHATGPT, OPEN_WEBUI, nameless, nameless])
    second = imported(user, [CHATGPT, OPEN_WEBUI, nameless])

    assert (first.num_taken, first.num_known) == (3, 1)
    assert (second.num_taken, second.num_known) == (0, 3)
    assert Conversation.objects.count() == 3
    assert imported(make_user(), [CHATGPT]).num_taken == 1


def test_what_is_imported_is_found_listed_by_its_date_and_goes_on(user):
    imported(user, [CHATGPT])
    talk = Conversation.objects.get()

    hits = search.search(user, "picture nice").hits
    turn = begin_turn(user, talk.id, "mock-1", "and now?")

    assert [hit.role for hit in hits] == ["assistant"]
    assert talk.updated_at == datetime.fromtimestamp(1700000100, tz=UTC)
    assert [each.role for each in turn.history] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize(
    ("exported", "why"),
    [
        ({"title": "what is this"}, "shape"),
        ({"title": "empty", "mapping": {}}, "empty"),
        ({"title": "no text", "mapping": node("a", None, "tool", "x")}, "empty"),
        ({"title": "wrong", "mapping": {"a": 5, "b": {"message": []}}}, "empty"),
        ({"title": "wrong", "chat": {"history": [], "messages": "no"}}, "empty"),
    ],
)
def test_what_cannot_be_taken_is_named_and_the_rest_is_taken(user, exported, why):
    summary = imported(user, [exported, "nonsense", CHATGPT])

    assert summary.num_taken == 1
    assert [(each.title, each.why) for each in summary.left_out] == [
        (exported["title"], why)
    ]


def test_circles_and_missing_parents_lose_no_text_and_end(user):
    mapping = {
        **node("a", "b", "user", "one"),
        **node("b", "a", "assistant", "two"),
        **node("c", "nowhere", "user", "three"),
        **node("d", "d", "assistant", "four"),
    }

    summary = imported(user, [{"title": "circle", "mapping": mapping}])

    assert summary.num_messages == 4
    contents = Message.objects.values_list("content", flat=True)
    assert set(contents) == {"one", "two", "three", "four"}
    assert path_of(user, "circle")


def test_a_very_deep_conversation_is_read_and_a_deeper_one_left_out(user, monkeypatch):
    monkeypatch.setattr(taking, "MAX_MESSAGES", 3_000)
    mapping = {}
    for number in range(3_000):
        role = ("user", "assistant")[number % 2]
        mapping |= node(f"n{number}", f"n{number - 1}", role, f"text {number}")

    deep = {"title": "deep", "mapping": mapping}
    too_deep = {"title": "deeper", "mapping": mapping | node("x", "n1", "user", "y")}
    summary = imported(user, [deep, too_deep])

    assert summary.num_taken == 1
    assert [each.why for each in summary.left_out] == ["too_long"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"a": "\\ud800"}',
        b"PK\x05\x06" + b"\0" * 18,
    ],
)
def test_a_file_of_something_else_is_refused_by_name(user, content):
    with pytest.raises(NothingToImport):
        imported(user, content)


def test_a_file_that_unpacks_to_more_than_the_bound_is_refused(user, settings):
    settings.CHAT_IMPORT_MAX_BYTES = 10_000
    bomb = [{"title": "x" * 1_000_000}]

    with pytest.raises(ImportTooLarge):
        imported(user, bomb, name="conversations.json")
    with pytest.raises(ImportTooLarge):
        imported(user, bomb)


def test_the_page_says_what_was_taken_and_refuses_what_is_no_export(user):
    client = client_of(user)
    whole = SimpleUploadedFile("x.json", json.dumps([CHATGPT, {"title": "?"}]).encode())
    broken = SimpleUploadedFile("x.json", b"{")

    taken = client.post("/library/transfer/", {"file": whole}).content.decode()
    refused = client.post("/library/transfer/", {"file": broken}).content.decode()

    assert "1 conversation was taken, with 5 messages." in taken
    assert "3 parts that are no text" in taken
    assert "its shape is not known" in taken
    assert "The file cannot be read." in refused


@exporting
def test_markdown_holds_the_branch_that_is_looked_at(user):
    turn = said(user, "a question", "the *answer*")

    one = exported(user, f"/c/{turn.conversation_id}/export.md").decode()
    every = exported(user, "/library/conversations.md").decode()

    assert one.startswith("# a question\n\n*20")
    assert one.endswith("## You\n\na question\n\n## mock-1\n\nthe *answer*\n")
    assert every == one


@exporting
def test_an_export_of_many_holds_each_once(user):
    for number in range(45):
        said(user, f"talk {number}")
    said(make_user(), "not mine")

    content = json.loads(exported(user, "/library/conversations.json"))

    titles = [each["title"] for each in content["conversations"]]
    assert titles == [f"talk {number}" for number in range(45)]
    assert content["format"] == "switchyard.conversations"
