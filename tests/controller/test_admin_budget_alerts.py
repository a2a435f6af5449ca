"""Alerts about budgets in the console."""

import pytest
from django.urls import reverse
from django.utils.timezone import now

from controller.models import BudgetAlert, Limit
from tests.factories import make_key, make_operator, make_team, make_user

LIST = reverse("admin:controller_budgetalert_changelist")


@pytest.fixture
def console(client, db):
    client.force_login(make_operator())
    return client


def make_alert(limit: Limit, **fields) -> BudgetAlert:
    values = {
        "period_start": "2026-05-12",
        "threshold": 80,
        "total": limit.units,
        "used": limit.units * 8 // 10,
    }
    return BudgetAlert.objects.create(limit=limit, **values | fields)


def test_the_list_shows_what_was_told_and_what_could_not_be(console):
    limit = Limit.put("tokens_per_day", 2000, team_id=make_team(name="Research").pk)
    make_alert(limit, threshold=50, is_covered=True)
    make_alert(limit, mailed_at=now(), webhook_error="The receiver answered 500")
    make_alert(limit, threshold=100, mail_error="Connection refused")
    make_alert(Limit.put("money_per_month", 5), mailed_at=now(), num_mailed=1)

    page = console.get(LIST).text

    assert "tokens per day of team &#x27;Research&#x27;" in page
    assert "1,600 / 2,000" in page
    assert "4.00 / 5.00" in page
    for words in (
        "with a higher threshold",
        "nobody has an address",
        "The receiver answered 500",
        "Connection refused",
    ):
        assert words in page


def test_the_list_is_to_read_only(console):
    alert = make_alert(Limit.put("tokens_per_day", 2000))
    change = reverse("admin:controller_budgetalert_change", args=[alert.pk])
    add = reverse("admin:controller_budgetalert_add")

    assert console.get(change).status_code == 200
    assert console.post(change, {"threshold": 1}).status_code == 403
    assert console.get(add).status_code == 403


def test_the_list_costs_as_many_queries_for_many_alerts(
    console, django_assert_max_num_queries
):
    make_alert(Limit.put("tokens_per_day", 5, key_id=make_key()[0].pk))
    console.get(LIST)  # warms what is cached
    with django_assert_max_num_queries(50) as few:
        console.get(LIST)
    for _ in range(10):
        make_alert(Limit.put("tokens_per_day", 5, user_id=make_user().pk))
        make_alert(Limit.put("tokens_per_day", 5, team_id=make_team().pk))

    with django_assert_max_num_queries(len(few.captured_queries)):
        console.get(LIST)
