"""Limits in the console."""

import pytest
from django.urls import reverse
from django.utils.timezone import now

from controller.limits.periods import Period
from controller.models import Limit, Revision, Spending
from tests.factories import make_key, make_operator, make_team, make_user

LIST = reverse("admin:controller_limit_changelist")
ADD = reverse("admin:controller_limit_add")


@pytest.fixture
def console(client, db):
    client.force_login(make_operator())
    return client


def form(**fields):
    return {"kind": "tokens_per_day", "amount": "1000"} | fields


def test_a_limit_is_what_the_form_said_and_web_processes_hear_of_it(console):
    team, before = make_team(name="Research"), Revision.current().keys

    console.post(ADD, form(team=team.pk))

    limit = Limit.objects.get()
    assert (limit.team, limit.kind, limit.units) == (team, "tokens_per_day", 1000)
    assert Revision.current().keys > before
    assert "team &#x27;Research&#x27;" in console.get(LIST).text


def test_keys_of_one_name_are_told_apart_by_their_holders(console):
    for name in ("ann", "bob"):
        key, _secret = make_key(make_user(username=name), name="laptop")
        Limit.put("tokens_per_day", 5, key_id=key.pk)

    page = console.get(LIST).text

    for name in ("ann", "bob"):
        assert f"key &#x27;laptop&#x27; of user &#x27;{name}&#x27;" in page


def test_a_limit_has_one_owner_at_most(console):
    answer = console.post(ADD, form(team=make_team().pk, user=make_user().pk))

    assert "choose one of them" in answer.text
    assert not Limit.objects.exists()


@pytest.mark.parametrize("is_for_a_key", [True, False])
def test_a_second_limit_of_a_kind_is_refused_in_the_form(console, is_for_a_key):
    owner = {"key": make_key()[0].pk} if is_for_a_key else {}
    for _ in range(2):
        answer = console.post(ADD, form(**owner))

    assert answer.status_code == 200
    assert "There is one already" in answer.text
    assert Limit.objects.count() == 1


def test_owner_and_kind_stay_since_what_is_used_is_theirs(console):
    limit = Limit.put("tokens_per_day", 5)
    change = reverse("admin:controller_limit_change", args=[limit.pk])

    console.post(change, form(kind="concurrent", user=make_user().pk, amount="7"))

    limit.refresh_from_db()
    assert (limit.kind, limit.user, limit.amount) == ("tokens_per_day", None, 7)


def test_the_list_shows_what_of_a_budget_is_used_in_its_period(console):
    tokens = Limit.put("tokens_per_day", 2000)
    money = Limit.put("money_per_month", 10)
    today, month = Period.day(now()).starts_on, Period.month(now()).starts_on
    Spending.objects.create(limit=tokens, period_start=today, spent=500)
    Spending.objects.create(limit=tokens, period_start="2020-01-01", spent=900)
    Spending.objects.create(limit=money, period_start=month, spent=2_500_000_000)

    page = console.get(LIST).text

    assert "500 (25 %)" in page
    assert "2.50 (25 %)" in page


@pytest.mark.parametrize(
    ("owner", "expected"),
    [("key", "key 'ci'"), ("everyone", "everyone"), ("team", "team 'Research'")],
)
def test_limits_are_found_by_what_they_are_for(console, owner, expected):
    Limit.put("concurrent", 1)
    Limit.put("tokens_per_day", 1, key_id=make_key(name="ci")[0].pk)
    Limit.put("tokens_per_day", 1, team_id=make_team(name="Research").pk)

    found = console.get(LIST, {"owner": owner}).context["cl"].result_list

    assert [each.owner_name for each in found] == [expected]
