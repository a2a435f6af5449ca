"""The pages of people's own limits, by HTTP."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from django.utils.timezone import now

from controller.limits.periods import Period
from controller.limits.requests import ask, decide
from controller.models import (
    Lease,
    Limit,
    LimitRequest,
    Membership,
    Revision,
    Spending,
)
from tests.factories import make_key, make_operator, make_team, make_user

pytestmark = pytest.mark.django_db

FORM = {"amount": "5000", "reason": "the demo on Friday"}


def client_of(user=None, **headers):
    client = Client(headers={"host": "localhost"} | headers)
    if user:
        client.force_login(user)
    return client


def make_owner(team):
    user = make_user()
    Membership.objects.create(team=team, user=user, role=Membership.Role.OWNER)
    return user


def shown(user):
    """The limits on this person's page."""
    lines = client_of(user).get("/limits/").context["lines"]
    return [line.standing.limit for line in lines]


@pytest.mark.parametrize(
    "path",
    ["/limits/", "/limits/1/ask/", "/limits/keys/1/", "/limits/requests/1/withdraw/"],
)
def test_strangers_are_sent_to_sign_in(path):
    assert "/accounts/login/" in client_of().get(path).url


def test_a_person_without_limits_is_told_what_will_be_here():
    page = client_of(make_user()).get("/limits/")

    assert "No limit holds for you" in page.text
    assert "no-store" in page["Cache-Control"]


def test_the_page_shows_what_holds_for_the_person_and_nothing_of_others():
    user, other = make_user(), make_user()
    team, others_team = make_team(user, other), make_team(other)
    key, revoked = make_key(user, name="ci")[0], make_key(user)[0]
    revoked.revoke()
    hold = [
        Limit.put("tokens_per_day", 1, user_id=user.pk),
        Limit.put("tokens_per_day", 2, key_id=key.pk),
        Limit.put("tokens_per_day", 3, team_id=team.pk),
        Limit.put("tokens_per_day", 4),
    ]
    Limit.put("tokens_per_day", 5, user_id=other.pk)
    Limit.put("tokens_per_day", 6, key_id=make_key(other, team=team)[0].pk)
    Limit.put("tokens_per_day", 7, team_id=others_team.pk)
    Limit.put("tokens_per_day", 8, key_id=revoked.pk)

    assert shown(user) == hold


def test_the_page_says_what_is_used_and_when_that_begins_anew():
    user = make_user()
    limit = Limit.put("money_per_month", 10, user_id=user.pk)
    Limit.put("requests_per_minute", 60, user_id=user.pk)
    month = Period.month(now())
    spending = Spending.objects.create(
        limit=limit, period_start=month.starts_on, spent=2_600_000_000
    )
    for holder in ("one process", "another"):
        Lease.objects.create(spending=spending, holder=holder, unspent=50_000_000)
    Spending.objects.create(limit=limit, period_start="2020-01-01", spent=9)

    page = client_of(user).get("/limits/").text

    assert "10.00 USD" in page
    assert "2.50 (25 %)" in page
    assert month.ends_at.astimezone(UTC).isoformat() in page
    assert page.count("<progress") == 1
    assert datetime.now(UTC) < month.ends_at


def test_a_keys_own_requests_at_once_are_shown_and_cannot_be_asked_for():
    user = make_user()
    make_key(user, name="ci", max_concurrent=7)

    page = client_of(user).get("/limits/").text

    assert "Requests at once" in page
    assert "<dd>7</dd>" in page
    assert "Ask for more" not in page


def test_the_page_makes_as_many_queries_however_much_there_is():
    team = make_team()
    user = make_owner(team)

    def more():
        key, _secret = make_key(make_user(), team=team, max_concurrent=3)
        own, _secret = make_key(user, team=team, max_concurrent=3)
        for owner in (key, own):
            limit = Limit.put("tokens_per_day", 1000, key_id=owner.pk)
        ask(user, limit, Decimal(2000), "more")

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client_of(user).get("/limits/").status_code == 200
        return len(captured)

    more()
    few = queries()
    for _ in range(9):
        more()

    assert queries() == few


def test_what_was_asked_waits_and_the_answer_is_read_on_the_page():
    user = make_user()
    limit = Limit.put("tokens_per_day", 1000, user_id=user.pk)
    client = client_of(user)

    client.post(f"/limits/{limit.pk}/ask/", FORM)
    request = LimitRequest.objects.get()
    assert (request.user, request.limit, request.amount) == (user, limit, 5000)
    assert request.reason == "the demo on Friday"
    page = client.get("/limits/").text
    assert "You asked for 5,000." in page
    assert "Ask for more" not in page

    decide(request.pk, make_operator(), Decimal(3000), "until <Friday>")
    page = client.get("/limits/").text
    assert "You asked for 5,000 and were given 3,000." in page
    assert "until &lt;Friday&gt;" in page
    assert "Ask for more" in page


def test_of_a_team_everybody_sees_their_own_requests_only():
    user, other = make_user(), make_user()
    team = make_team(user, other)
    limit = Limit.put("tokens_per_day", 1000, team_id=team.pk)
    ask(other, limit, Decimal(7777), "a secret project")

    page = client_of(user).get("/limits/").text

    assert "7,777" not in page
    assert "secret project" not in page


def test_asking_twice_is_refused_and_the_first_stays():
    user = make_user()
    limit = Limit.put("tokens_per_day", 1000, user_id=user.pk)
    client = client_of(user)
    client.post(f"/limits/{limit.pk}/ask/", FORM)

    answer = client.post(f"/limits/{limit.pk}/ask/", FORM | {"amount": "9000"})

    assert "wait for the answer" in answer.text
    assert LimitRequest.objects.get().amount == 5000


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"amount": ""}, "required"),
        ({"amount": "1000"}, "More than 1,000"),
        ({"amount": "1000.5"}, "whole number"),
        ({"amount": "2000000000000"}, "12 digits"),
        ({"amount": "NaN"}, "number"),
        ({"amount": "1e9999"}, "digits"),
        ({"reason": ""}, "required"),
        ({"reason": "x" * 1001}, "at most 1000"),
    ],
    ids=str,
)
def test_a_wrong_form_asks_for_nothing_and_says_why(wrong, reason):
    user = make_user()
    limit = Limit.put("tokens_per_day", 1000, user_id=user.pk)

    answer = client_of(user).post(f"/limits/{limit.pk}/ask/", FORM | wrong)

    assert reason in answer.text
    assert not LimitRequest.objects.exists()


@pytest.mark.parametrize(
    ("whose", "status"),
    [
        ("own", 302),
        ("own key", 302),
        ("own team", 302),
        ("everyone", 302),
        ("another user", 404),
        ("another key", 404),
        ("key of a fellow member", 404),
        ("another team", 404),
    ],
)
def test_one_asks_for_more_of_what_holds_for_one_and_of_nothing_else(whose, status):
    user, other = make_user(), make_user()
    team = make_team(user, other)
    owner = {
        "own": {"user_id": user.pk},
        "own key": {"key_id": make_key(user)[0].pk},
        "own team": {"team_id": team.pk},
        "everyone": {},
        "another user": {"user_id": other.pk},
        "another key": {"key_id": make_key(other)[0].pk},
        "key of a fellow member": {"key_id": make_key(other, team=team)[0].pk},
        "another team": {"team_id": make_team(other).pk},
    }[whose]
    limit = Limit.put("tokens_per_day", 1000, **owner)

    answer = client_of(user).post(f"/limits/{limit.pk}/ask/", FORM)

    assert answer.status_code == status
    assert LimitRequest.objects.count() == (1 if status == 302 else 0)


def test_one_takes_back_ones_own_request_and_nobody_elses():
    user, other = make_user(), make_user()
    request = ask(user, Limit.put("tokens_per_day", 1), Decimal(5), "more")
    path = f"/limits/requests/{request.pk}/withdraw/"

    assert client_of(other).post(path).status_code == 404
    assert client_of(user).get(path).status_code == 405
    assert LimitRequest.objects.exists()

    client_of(user).post(path)
    assert not LimitRequest.objects.exists()


@pytest.mark.parametrize(
    ("role", "status", "expected"),
    [
        ("owner of the team", 302, 400),
        ("owner, above the team's", 200, None),
        ("member of the team", 404, None),
        ("who has the key, a member", 404, None),
        ("owner of another team", 404, None),
        ("nobody", 404, None),
    ],
)
def test_only_an_owner_sets_limits_of_the_teams_keys(role, status, expected):
    member, holder = make_user(), make_user()
    team = make_team(member, holder)
    Limit.put("tokens_per_day", 1000, team_id=team.pk)
    key, _secret = make_key(holder, team=team)
    user = {
        "owner of the team": make_owner(team),
        "owner, above the team's": make_owner(team),
        "member of the team": member,
        "who has the key, a member": holder,
        "owner of another team": make_owner(make_team()),
        "nobody": make_user(),
    }[role]
    before = Revision.current().keys
    amount = "1001" if "above" in role else "400"

    answer = client_of(user).post(
        f"/limits/keys/{key.pk}/", {"kind": "tokens_per_day", "amount": amount}
    )

    assert answer.status_code == status
    limit = Limit.objects.filter(key=key).first()
    assert (limit and limit.units) == expected
    assert (Revision.current().keys > before) is (expected is not None)


def test_an_owner_sets_no_limit_of_their_own_key_without_a_team():
    user = make_owner(make_team())
    key, _secret = make_key(user)

    answer = client_of(user).post(
        f"/limits/keys/{key.pk}/", {"kind": "tokens_per_day", "amount": "4"}
    )

    assert answer.status_code == 404
    assert not Limit.objects.exists()


def test_an_owner_sees_the_teams_keys_and_a_member_does_not():
    member = make_user()
    team = make_team(member)
    owner = make_owner(team)
    key, _secret = make_key(member, name="pipeline", team=team)
    Limit.put("tokens_per_day", 321, key_id=key.pk)

    page = client_of(owner).get("/limits/").text
    assert "pipeline" in page
    assert "321" in page
    assert f"/limits/keys/{key.pk}/" in page

    page = client_of(make_team_fellow(team)).get("/limits/").text
    assert "pipeline" not in page
    assert "321" not in page


def make_team_fellow(team):
    user = make_user()
    Membership.objects.create(team=team, user=user)
    return user


def test_of_a_team_without_limits_the_owner_is_told_to_ask_for_one():
    team = make_team()
    key, _secret = make_key(team=team)

    page = client_of(make_owner(team)).get(f"/limits/keys/{key.pk}/").text

    assert "has no limit itself" in page


def test_the_pages_are_chinese_in_chinese():
    user = make_user()
    limit = Limit.put("tokens_per_day", 1000, user_id=user.pk)
    client = client_of(user, **{"accept-language": "zh-hans"})

    with translation.override("en"):  # a request leaves its language behind
        page = client.get("/limits/").text
        form = client.post(f"/limits/{limit.pk}/ask/", FORM | {"amount": "1"}).text

    assert "每天词元数" in page
    assert "申请提高" in page
    assert "请填写大于 1,000 的数额" in form
