"""The page of people's own usage, by HTTP."""

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from controller.ledger.queue import write_batch
from controller.ledger.rollups import roll_up
from controller.models import LedgerEntry
from tests.chat.test_pages import carried
from tests.controller.test_ledger_queue import finished
from tests.factories import make_key, make_user

pytestmark = pytest.mark.django_db(transaction=True)


def client_of(user=None, **headers):
    client = Client(headers={"host": "localhost"} | headers)
    if user:
        client.force_login(user)
    return client


def use(user, number=1, *, days_ago=0, **fields):
    moment = now() - timedelta(days=days_ago)
    fields = {"user_id": user.pk, "key_id": None, "created_at": moment} | fields
    write_batch([finished(**fields) for _ in range(number)])


def test_strangers_are_sent_to_sign_in():
    for path in ("/usage/", "/usage/requests.csv"):
        assert "/accounts/login/" in client_of().get(path).url


def test_the_page_adds_up_what_the_user_used_and_nothing_of_others():
    user, other = make_user(), make_user()
    key, _secret = make_key(user, name="laptop")
    use(user, 2, days_ago=3, key_id=key.pk, model="big", cost_nanos=2 * 10**9)
    use(user, 1, model="small", status=502)
    use(other, 40, model="secret-model")
    roll_up()

    page = client_of(user).get("/usage/")

    plots = carried(page, "usage-plots")
    assert len(plots["days"]) == 30
    assert (sum(plots["answered"]), sum(plots["errors"])) == (2, 1)
    assert plots["prompt"][-4] == 20
    assert "laptop" in page.text
    assert "4.00" in page.text
    assert "secret-model" not in page.text


def test_a_user_without_usage_is_told_what_will_be_here():
    page = client_of(make_user()).get("/usage/")

    assert "Nothing was used in this period" in page.text
    assert "usage-plots" not in page.text


@pytest.mark.parametrize(
    ("asked", "shown"), [("7", 7), ("365", 365), ("8", 30), ("x", 30), ("", 30)]
)
def test_the_period_is_one_of_those_offered(asked, shown):
    user = make_user()
    use(user)

    page = client_of(user).get("/usage/", {"days": asked})

    assert len(carried(page, "usage-plots")["days"]) == shown


def test_the_page_makes_as_many_queries_however_much_there_is():
    user = make_user()
    client = client_of(user)
    counts = []
    for number in (1, 12):
        for each in range(number):
            key, _secret = make_key(user)
            use(user, days_ago=each, model=f"model {each}", key_id=key.pk)
        roll_up()
        with CaptureQueriesContext(connection) as queries:
            client.get("/usage/")
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 13


def test_the_page_is_chinese_for_a_chinese_browser():
    user = make_user()
    use(user)

    page = client_of(user, accept_language="zh-CN").get("/usage/").text

    for words in ("用量", "每日词元", "30 天", "全部请求（CSV）"):
        assert words in page


def test_no_script_and_no_style_but_files_of_ours():
    user = make_user()
    use(user)

    page = client_of(user).get("/usage/")

    assert "style-src 'self'" in page["Content-Security-Policy"]
    assert " style=" not in page.text


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_export_has_the_users_own_requests_of_the_period(kind):
    user, other = make_user(), make_user()
    use(user)
    use(user, days_ago=8)
    use(other)
    own = LedgerEntry.objects.filter(user=user).order_by("-created_at").first()

    @async_to_sync
    async def download():
        client = AsyncClient(headers={"host": "localhost"})
        await client.aforce_login(user)
        answer = await client.get(f"/usage/requests.{kind}?days=7")
        return answer, b"".join([block async for block in answer.streaming_content])

    answer, content = download()

    assert "attachment" in answer["Content-Disposition"]
    assert own.request_id in content.decode()
    lines = content.decode().splitlines()
    assert len(lines) == (2 if kind == "csv" else 1)
