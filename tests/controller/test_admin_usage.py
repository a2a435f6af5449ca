"""The operators' page of usage."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from controller.ledger.queue import write_batch
from controller.ledger.report import MAX_LINES
from controller.ledger.rollups import roll_up
from tests.controller.test_ledger_queue import finished
from tests.factories import make_key, make_operator, make_team, make_user

PAGE = reverse("usage")


@pytest.fixture
def console(client, db):
    client.force_login(make_operator(username="operator"))
    return client


def use(*, days_ago=0, **fields):
    moment = now() - timedelta(days=days_ago)
    write_batch([finished(created_at=moment, **fields)])


def lines(page, title):
    (table,) = (
        each for first, _nothing, each in page.context["tables"] if first == title
    )
    return [(line.label, line.tally.num_requests) for line in table]


def test_usage_is_added_up_by_team_the_most_expensive_first(console):
    cheap, dear = make_team(name="cheap"), make_team(name="dear")
    use(team_id=cheap.pk, cost_nanos=1)
    use(team_id=dear.pk, cost_nanos=2, days_ago=3)
    use(team_id=dear.pk, cost_nanos=2)
    use(team_id=None)
    use(team_id=12345)  # deleted since
    roll_up()

    page = console.get(PAGE)

    expected = [("dear", 2), ("cheap", 1), ("#12345", 1), ("", 1)]
    assert lines(page, "Team") == expected
    assert "No team" in page.text


def test_keys_of_one_name_are_told_apart_by_their_owners(console):
    for name in ("ann", "bob"):
        key, _secret = make_key(make_user(username=name), name="laptop")
        use(key_id=key.pk, user_id=key.user_id)

    shown = lines(console.get(PAGE), "API key")

    assert sorted(shown) == [("ann · laptop", 1), ("bob · laptop", 1)]


def test_a_cost_of_less_than_a_cent_is_no_zero(console):
    use(cost_nanos=2_445_000)

    assert "0.002445" in console.get(PAGE).text


def test_below_the_longest_table_the_rest_is_one_line(console):
    for number in range(MAX_LINES + 3):
        use(model=f"model {number}")

    *_shown, last = lines(console.get(PAGE), "Model")

    assert last == (None, 3)
    assert "All others" in console.get(PAGE).text


def test_the_page_makes_as_many_queries_however_much_there_is(console):
    counts = []
    for number in (1, 12):
        for each in range(number):
            use(user_id=make_user().pk, team_id=make_team().pk, days_ago=each)
        roll_up()
        with CaptureQueriesContext(connection) as queries:
            console.get(PAGE)
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 15


def test_hours_that_are_not_added_yet_are_told(console):
    use(days_ago=1)

    assert "not added yet" in console.get(PAGE).text
    roll_up()
    assert "not added yet" not in console.get(PAGE).text


def test_a_site_without_usage_says_what_will_be_here(console):
    assert "Nothing was used in this period" in console.get(PAGE).text


@pytest.mark.parametrize("path", [PAGE, reverse("usage_export", args=["csv"])])
def test_only_operators_who_may_see_the_ledger_see_usage(client, db, path):
    staff = make_user(is_staff=True)
    assert client.get(path).status_code == 302
    client.force_login(make_user())
    assert client.get(path).status_code == 302
    client.force_login(staff)
    assert client.get(path).status_code == 403

    staff.user_permissions.add(Permission.objects.get(codename="view_ledgerentry"))

    client.force_login(staff)
    assert client.get(PAGE).status_code == 200
    assert f'href="{PAGE}"' in client.get(reverse("admin:index")).text
