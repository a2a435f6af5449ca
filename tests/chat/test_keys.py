"""The pages of people's own API keys, by HTTP."""

import re
from datetime import timedelta
from html import unescape

import pytest
from channels.db import database_sync_to_async
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from controller.gateway import running_gateway
from controller.identity import secrets
from controller.models import ApiKey, Revision
from tests.factories import (
    make_key,
    make_operator,
    make_served_model,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db(transaction=True)


def client_of(user=None, **headers):
    client = Client(headers={"host": "localhost"} | headers)
    if user:
        client.force_login(user)
    return client


def form_of(**fields):
    return {"name": "laptop", "expires": "90d", "scopes": ["inference"]} | fields


def shown_secret(response):
    found = re.search(r'<code id="secret">(.*?)</code>', response.text)
    return found and found[1]


def in_site(check):
    """Run a check, which uses the ORM and a test client, while a gateway runs."""

    async def test(transactional_db):
        async with running_gateway():
            await database_sync_to_async(check)()

    test.__name__ = check.__name__
    return test


@in_site
def test_a_new_key_is_shown_in_the_answer_and_nowhere_else():
    user = make_user()
    client = client_of(user)

    response = client.post("/keys/", form_of())

    key, secret = ApiKey.objects.get(), shown_secret(response)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert (key.user, key.name) == (user, "laptop")
    assert key.digest == secrets.digest(secret)
    assert key.expires_at > now() + timedelta(days=89)
    kept = [session.get_decoded() for session in Session.objects.all()]
    assert secret not in str([*kept, vars(key), response.cookies, client.cookies])
    assert secret not in client.get("/keys/").text


@in_site
def test_a_key_is_what_the_form_said():
    make_served_model("llama")
    user = make_user()
    team = make_team(user)

    response = client_of(user).post(
        "/keys/",
        form_of(
            expires="",
            team=team.pk,
            allowed_models=["llama"],
            allowed_endpoints=["/v1/embeddings"],
            allowed_networks="10.0.0.0/8",
            allowed_origins="https://a.example",
            is_publishable="on",
        ),
    )

    key = ApiKey.objects.get()
    assert shown_secret(response).startswith("sy-pub-")
    assert (key.team, key.expires_at) == (team, None)
    assert (key.scopes, key.allowed_models) == (["inference"], ["llama"])
    assert key.allowed_endpoints == ["/v1/embeddings"]
    assert key.allowed_networks == ["10.0.0.0/8"]
    assert key.allowed_origins == ["https://a.example"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"name": ""}, "required"),
        ({"scopes": []}, "required"),
        ({"scopes": ["inference", "fleet"]}, "fleet is not one of"),
        ({"scopes": ["engine"]}, "engine is not one of"),
        ({"expires": "400d"}, "400d is not one of"),
        ({"allowed_models": ["unknown"]}, "unknown is not one of"),
        ({"allowed_endpoints": ["/controller/"]}, "/controller/ is not one of"),
        ({"allowed_networks": "everywhere"}, "everywhere"),
        ({"allowed_origins": "null"}, "sandboxed frames"),
        ({"is_publishable": "on"}, "Name the sites"),
        ({"team": "other"}, "valid choice"),
    ],
    ids=str,
)
async def test_a_wrong_form_makes_no_key_and_says_why(transactional_db, wrong, reason):
    def check():
        if wrong.get("team"):  # one that is there, of other people
            wrong["team"] = make_team(make_user()).pk

        response = client_of(make_user()).post("/keys/", form_of(**wrong))

        assert reason in unescape(response.text)
        assert not ApiKey.objects.exists()
        assert shown_secret(response) is None

    async with running_gateway():
        await database_sync_to_async(check)()


@in_site
def test_operators_may_grant_what_others_may_not():
    offered = {
        who.username: 'value="fleet"' in client_of(who).get("/keys/").text
        for who in (
            make_operator(username="operator"),
            make_user(username="staff", is_staff=True),
            make_user(username="user"),
        )
    }
    operator = make_operator()
    client_of(operator).post("/keys/", form_of(scopes=["fleet", "engine"]))

    assert offered == {"operator": True, "staff": False, "user": False}
    assert ApiKey.objects.get().scopes == ["fleet", "engine"]


@in_site
def test_there_is_a_limit_to_the_keys_of_one_person():
    user = make_user()
    for _ in range(2):
        make_key(user)
    make_key(user, revoked_at=now())
    make_key()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("django.conf.settings.MAX_KEYS_PER_USER", 2)
        refused = client_of(user).post("/keys/", form_of())
        patched.setattr("django.conf.settings.MAX_KEYS_PER_USER", 3)
        taken = client_of(user).post("/keys/", form_of())

    assert "You have 2 keys, which is the limit" in refused.text
    assert shown_secret(refused) is None
    assert shown_secret(taken)


@in_site
def test_another_persons_key_is_404_on_every_page_and_stays_as_it_was():
    key, _ = make_key()
    key.rotate(timedelta(hours=1))
    before = ApiKey.objects.values().get()
    client = client_of(make_operator())

    answers = [
        getattr(client, method)(f"/keys/{key.pk}/{page}/", {"overlap": "0"})
        for page in ("rotate", "revoke", "end-overlap")
        for method in ("get", "post")
    ]

    assert [answer.status_code for answer in answers] == [404] * 6
    assert ApiKey.objects.values().get() == before
    assert key.prefix not in client.get("/keys/").text


@in_site
def test_who_is_not_signed_in_sees_no_page_of_keys():
    key, _ = make_key()

    for path in ("/keys/", *(f"/keys/{key.pk}/{p}/" for p in ("rotate", "revoke"))):
        for method in ("get", "post"):
            answer = getattr(client_of(), method)(path)
            assert answer["Location"] == f"/accounts/login/?next={path}"

    assert ApiKey.objects.get().is_active


@in_site
def test_a_form_of_another_site_makes_and_revokes_nothing():
    user = make_user()
    key, _ = make_key(user)
    client = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    client.force_login(user)

    assert client.post("/keys/", form_of()).status_code == 403
    assert client.post(f"/keys/{key.pk}/revoke/").status_code == 403
    assert ApiKey.objects.get().is_active


@in_site
def test_a_rotation_shows_the_new_secret_and_keeps_the_old_for_its_overlap():
    user = make_user()
    key, old = make_key(user)
    client, revision = client_of(user), Revision.current().keys

    assert client.get(f"/keys/{key.pk}/rotate/").status_code == 200
    response = client.post(f"/keys/{key.pk}/rotate/", {"overlap": "7d"})

    new, rotated = shown_secret(response), ApiKey.objects.get()
    assert rotated.digest == secrets.digest(new)
    assert rotated.previous_digest == secrets.digest(old)
    assert rotated.previous_expires_at > now() + timedelta(days=6)
    assert Revision.current().keys > revision
    page = client.get("/keys/").text
    assert (new in page, old in page) == (False, False)
    assert f"{rotated.prefix}…" in page
    assert f"{rotated.previous_prefix}…" in page


@in_site
def test_a_rotation_without_an_overlap_ends_the_old_secret_now():
    user = make_user()
    key, old = make_key(user)

    client_of(user).post(f"/keys/{key.pk}/rotate/", {"overlap": "0"})

    assert not ApiKey.objects.opened_by(secrets.digest(old)).exists()


@in_site
def test_an_overlap_is_ended_after_a_confirmation():
    user = make_user()
    key, old = make_key(user)
    new = key.rotate(timedelta(days=1))
    client, address = client_of(user), f"/keys/{key.pk}/end-overlap/"

    asked = client.get(address)
    opened = ApiKey.objects.opened_by(secrets.digest(old)).exists()
    answer = client.post(address, follow=True)

    assert (asked.status_code, opened) == (200, True)
    assert "is refused from now on" in answer.text
    assert not ApiKey.objects.opened_by(secrets.digest(old)).exists()
    assert ApiKey.objects.opened_by(secrets.digest(new)).exists()


@in_site
def test_a_key_is_revoked_after_a_confirmation_and_stays_listed():
    user = make_user()
    key, _ = make_key(user, name="<b>old</b>")
    client, address = client_of(user), f"/keys/{key.pk}/revoke/"

    asked = client.get(address)
    was_active = ApiKey.objects.get().is_active
    first = client.post(address, follow=True)
    revoked_at = ApiKey.objects.get().revoked_at
    client.post(address)

    assert (asked.status_code, was_active) == (200, True)
    assert first.redirect_chain == [("/keys/", 302)]
    assert "&lt;b&gt;old&lt;/b&gt;" in first.text
    assert "<b>old" not in first.text
    assert ApiKey.objects.get().revoked_at == revoked_at is not None
    assert client.get(f"/keys/{key.pk}/rotate/").status_code == 404


@in_site
def test_the_page_asks_as_many_queries_for_many_keys_as_for_few():
    user = make_user()
    team = make_team(user)
    client = client_of(user)
    counts = []
    for number in (2, 30):
        for _ in range(number):
            make_key(user, team=team)
            make_key(user, revoked_at=now())
        with CaptureQueriesContext(connection) as queries:
            client.get("/keys/")
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 12


@in_site
def test_the_page_says_what_can_be_done_where_there_is_no_key_yet():
    page = client_of(make_user()).get("/keys/").text

    assert "You have no key yet" in page
    assert '<details class="fold" open>' in page


@in_site
def test_the_examples_bear_the_addresses_and_the_new_secret():
    client = client_of(make_user())

    secret_key = client.post("/keys/", form_of())
    browsers = client.post(
        "/keys/", form_of(is_publishable="on", allowed_origins="https://a.example")
    )

    snippets = [unescape(each.text) for each in secret_key.context["issued"].snippets]
    assert len(snippets) == 3
    for text in snippets:
        assert "http://localhost/v1" in text
        assert shown_secret(secret_key) in text
    (only,) = browsers.context["issued"].snippets
    assert "dangerouslyAllowBrowser: true" in only.text


@in_site
def test_the_pages_are_chinese_and_run_no_script_but_their_own():
    user = make_user()
    key, _ = make_key(user)
    client = client_of(user, accept_language="zh-CN")

    for path, word in {
        "/keys/": "创建密钥",
        f"/keys/{key.pk}/rotate/": "轮换",
        f"/keys/{key.pk}/revoke/": "撤销",
    }.items():
        response = client.get(path)
        assert word in response.text
        assert "script-src 'self';" in response["Content-Security-Policy"]
        assert not re.search(r"\son\w+=|\sstyle=|javascript:", response.text)
        assert "frame-ancestors 'none'" in response["Content-Security-Policy"]


@in_site
def test_the_user_menu_leads_to_the_keys():
    assert 'href="/keys/"' in client_of(make_user()).get("/").text
