"""The pages by HTTP: whose they are, what they carry, in which language."""

import json
import re
import uuid
from html import unescape

import pytest
from channels.db import database_sync_to_async
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_script_prefix

from chat.answers import Draft, Ending, settle
from chat.conversations import begin_turn
from chat.models import Message
from controller.gateway import running_gateway
from tests.factories import make_operator, make_user

pytestmark = pytest.mark.django_db(transaction=True)


def client_of(user=None, **headers):
    client = Client(headers={"host": "localhost"} | headers)
    if user:
        client.force_login(user)
    return client


def conversation_of(user, text="hello", answer="An answer."):
    turn = begin_turn(user, None, "mock-1", text)
    settle(turn.message_id, Draft(answer), Ending(Message.State.COMPLETE))
    return turn.conversation_id


def carried(response, name="page"):
    """The JSON that the page hands to its script."""
    pattern = rf'<script id="{name}" type="application/json">(.*?)</script>'
    return json.loads(re.search(pattern, response.content.decode())[1])


@pytest.fixture
def in_site(site):
    """Run a function with the ORM and a test client while the site is up."""
    return database_sync_to_async


async def test_another_users_conversation_is_404_and_ones_own_is_shown(in_site):
    @in_site
    def check():
        owner, other = make_user(), make_user()
        address = f"/c/{conversation_of(owner)}/"

        assert client_of(owner).get(address).status_code == 200
        assert client_of(other).get(address).status_code == 404
        assert client_of(owner).get(f"/c/{uuid.uuid4()}/").status_code == 404

    await check()


async def test_who_is_not_signed_in_is_sent_to_the_sign_in_page(in_site):
    @in_site
    def check():
        response = client_of().get("/")

        assert response.status_code == 302
        assert response["Location"] == "/accounts/login/?next=/"

    await check()


async def test_the_page_carries_its_messages_and_models(in_site):
    @in_site
    def check():
        user = make_user()
        address = f"/c/{conversation_of(user, text='</script><b>x')}/"

        response = client_of(user).get(address)
        page = carried(response)

        contents = [message["content"] for message in page["messages"]]
        assert contents == ["</script><b>x", "An answer."]
        assert [model["name"] for model in page["models"]] == ["mock-1"]
        assert b"<b>x" not in response.content

    await check()


async def test_the_page_runs_no_script_but_its_own_files(in_site):
    @in_site
    def check():
        response = client_of(make_user()).get("/")

        policy = response["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        page = response.content.decode()
        scripts = re.findall(r"<script(.*?)>", page)
        assert all("src=" in each or "application/json" in each for each in scripts)
        assert not re.search(r"\son\w+=|\sstyle=|javascript:", page)

    await check()


async def test_the_page_makes_as_many_queries_however_much_there_is(in_site):
    @in_site
    def check():
        user = make_user()
        client = client_of(user)
        counts = []
        for num_conversations in (1, 10):
            for _ in range(num_conversations):
                conversation_id = conversation_of(user)
            with CaptureQueriesContext(connection) as queries:
                client.get(f"/c/{conversation_id}/")
            counts.append(len(queries))

        assert counts[0] == counts[1] <= 12

    await check()


async def test_the_page_is_chinese_for_a_chinese_browser(in_site):
    @in_site
    def check():
        user = make_user()

        response = client_of(user, accept_language="zh-CN,zh;q=0.9").get("/")

        assert '<html lang="zh-hans">' in response.content.decode()
        assert "新对话" in unescape(response.content.decode())
        assert carried(response, "words")["today"] == "今天"

    await check()


async def test_without_a_live_model_the_page_says_so_and_staff_are_told_where_to_look(
    transactional_db,
):
    def check():
        for user, is_told in ((make_user(), False), (make_operator(), True)):
            page = client_of(user).get("/").content.decode()
            assert 'id="welcome-empty">' in page
            assert ("/admin/controller/worker/" in page) is is_told

    async with running_gateway():
        await database_sync_to_async(check)()


async def test_the_page_works_behind_a_path_prefix(in_site):
    @in_site
    def check():
        user = make_user()
        with override_script_prefix("/llm/"):
            response = client_of(user).get("/")

        page = carried(response)
        assert page["socket"] == "/llm/ws/chat/"
        assert page["home"] == "/llm/"
        addresses = re.findall(r'(?:href|action)="(/.*?)"', response.content.decode())
        ours = [each for each in addresses if not each.startswith("/static/")]
        assert ours
        assert all(each.startswith("/llm/") for each in ours)

    await check()
