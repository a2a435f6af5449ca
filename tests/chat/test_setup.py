"""A conversation's instructions and parameters: kept, refused in words, and sent."""

import pytest
from channels.db import database_sync_to_async
from django.test import Client

from chat.composing.forms import checked_setup
from chat.composing.setups import Parameters, Setup
from chat.conversations import begin_turn
from chat.errors import SetupRefused
from chat.models import ConversationSetup
from tests.chat.pages import Page
from tests.factories import make_user

GIVEN = {
    "system_prompt": "Be brief.",
    "temperature": "0.5",
    "top_p": "0.9",
    "max_tokens": "6",
    "stop": "END\n\\n\\n",
    "seed": "7",
}
STORED = Setup(
    system_prompt="Be brief.",
    parameters=Parameters(
        temperature=0.5, top_p=0.9, max_tokens=6, stop=["END", "\n\n"], seed=7
    ),
)


@pytest.fixture
def user(db):
    return make_user()


@pytest.fixture
def conversation_id(user):
    return begin_turn(user, None, "mock-1", "hello").conversation_id


def client_of(user):
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


def put(client, conversation_id, fields):
    path = f"/c/{conversation_id}/setup/"
    return client.put(path, fields, content_type="application/json")


def test_what_people_type_is_read_and_what_is_empty_is_left_to_the_model():
    assert checked_setup(GIVEN) == STORED
    assert checked_setup(dict.fromkeys(GIVEN, "")) == Setup()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "2.1"),
        ("temperature", "warm"),
        ("temperature", "nan"),
        ("top_p", "0"),
        ("top_p", "1.01"),
        ("max_tokens", "0"),
        ("max_tokens", "1.5"),
        ("seed", "12345678901234567"),
        ("stop", "\n".join("abcdefghijklmnopqrst")),
        ("stop", "x" * 201),
        ("system_prompt", "x" * 20_001),
    ],
)
def test_what_no_model_takes_is_refused_by_its_field(field, value):
    with pytest.raises(SetupRefused) as refusal:
        checked_setup({"temperature": "1", field: value})

    assert list(refusal.value.fields) == [field]


def test_a_setup_is_stored_on_its_conversation_and_sent_with_each_turn(
    user, conversation_id
):
    client = client_of(user)

    answer = put(client, conversation_id, GIVEN)

    row = ConversationSetup.objects.get()
    assert row.setup == STORED
    assert answer.json()["stop"] == ["END", "\n\n"]
    assert client.get(f"/c/{conversation_id}/setup/").json() == answer.json()


def test_a_refused_setup_names_its_fields_and_leaves_the_row_alone(
    user, conversation_id
):
    client = client_of(user)
    put(client, conversation_id, GIVEN)

    refused = put(client, conversation_id, GIVEN | {"temperature": "3", "seed": "x"})

    assert refused.status_code == 400
    assert refused.json()["fields"] == {
        "temperature": "A number from 0 to 2.",
        "seed": "A whole number of at most 15 digits.",
    }
    assert ConversationSetup.objects.get().setup == STORED


def test_another_users_conversation_is_404_and_strangers_are_401(user, conversation_id):
    other = client_of(make_user())

    assert put(other, conversation_id, GIVEN).status_code == 404
    assert other.get(f"/c/{conversation_id}/setup/").status_code == 404
    stranger = Client(headers={"host": "localhost"})
    assert stranger.get(f"/c/{conversation_id}/setup/").status_code == 401
    assert not ConversationSetup.objects.exists()


@pytest.mark.django_db(transaction=True)
async def test_the_engine_gets_the_setup_of_a_new_conversation_and_of_later_turns(
    site, engine
):
    user = await database_sync_to_async(make_user)()
    async with Page(user) as page:
        shown = await page.ask("one", setup=GIVEN)
        await page.read_answer()
        await page.ask("two", conversation=shown["conversation"]["id"])
        await page.read_answer()

    first, second = (request.body for request in engine.requests()[-2:])
    for body in (first, second):
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (body["temperature"], body["max_tokens"]) == (0.5, 6)
        assert body["stop"] == ["END", "\n\n"]
    assert len(second["messages"]) == 4


@pytest.mark.django_db(transaction=True)
async def test_a_setup_that_is_refused_begins_no_conversation(site):
    user = await database_sync_to_async(make_user)()
    async with Page(user) as page:
        await page.say(
            type="send", model="mock-1", text="one", setup={"seed": "x"}, ref=3
        )
        refused = await page.hear("error")

    assert (refused["code"], refused["ref"]) == ("setup_refused", 3)
