"""The console's first page: curves, who uses most, and what needs attention."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils.timezone import now

from controller.ledger import rollups
from controller.ledger.usage import Tally
from controller.models import (
    BudgetAlert,
    EngineStart,
    LedgerEntry,
    LedgerHour,
    Limit,
    LimitRequest,
    WorkerBreaker,
)
from controller.models.usage import HOUR, hour_of
from tests.factories import (
    make_key,
    make_ledger_entry,
    make_moderation_flag,
    make_operator,
    make_team,
    make_user,
    make_worker,
)

INDEX = reverse("admin:index")


@pytest.fixture
def console(client, db):
    client.force_login(make_operator())
    return client


def entry(hours_ago=0, **fields):
    """A row of the ledger, counted for its hour's roll-up."""
    at = hour_of(now()) - hours_ago * HOUR
    made = make_ledger_entry(created_at=at, **fields)
    hour, _ = LedgerHour.objects.get_or_create(begins_at=at)
    hour.num_written += 1
    hour.save()
    return made


def parts(console, **asked):
    overview = console.get(INDEX, asked).context["overview"]
    return {part.label: part.tallies for part in overview.parts}


@pytest.mark.parametrize("days", [1, 7, 30])
def test_curves_have_what_is_rolled_up_and_what_is_not_yet(console, days):
    for hours_ago in (0, 2, 20):
        entry(hours_ago, model="llama", ttft_seconds=0.5)
    entry(2, model="llama", status=502, ttft_seconds=None)
    entry(24 * 40, model="llama")
    rollups.roll_up()

    tallies = parts(console, days=days)["llama"]

    assert len(tallies) == {1: 24, 7: 7, 30: 30}[days]
    assert sum(each.num_requests for each in tallies) == 4
    assert sum(each.num_errors for each in tallies) == 1
    assert {each.mean_ttft_seconds for each in tallies} <= {None, 0.5}


def test_curves_are_split_by_model_face_or_team(console):
    team = make_team(name="Research")
    entry(model="a", face=LedgerEntry.Face.CHAT, team=team)
    entry(model="b", face=LedgerEntry.Face.API)

    assert set(parts(console)) == {"a", "b"}
    assert set(parts(console, by="face")) == {"chat", "api"}
    assert set(parts(console, by="team")) == {"Research", ""}
    assert set(parts(console, by="nonsense", days="x")) == {"a", "b"}


def test_many_models_are_few_curves_which_add_up(console):
    for number in range(9):
        entry(model=f"model-{number}")

    shown = parts(console)

    assert len(shown) == 6
    assert Tally.total(shown[None]).num_requests == 4


def test_the_page_carries_a_column_for_each_curve(console):
    entry(model="a")
    entry(model="b")

    content = console.get(INDEX).content.decode()

    carried = content.split('id="usage-plots" type="application/json">')[1]
    columns = json.loads(carried.split("</script>")[0])
    for kind in ("requests", "tokens", "ttft", "errors"):
        for number in range(2):
            assert len(columns[f"{kind}{number}"]) == len(columns["times"]) == 24
            assert f'data-series="{kind}{number}"' in content


def test_who_uses_most_stands_first(console):
    few, many = make_user(username="few"), make_user(username="many")
    key, _ = make_key(many, name="pipeline")
    entry(user=few, prompt_tokens=1)
    entry(user=many, key=key, prompt_tokens=1000)

    overview = console.get(INDEX).context["overview"]

    assert [each.label for each in overview.users] == ["many", "few"]
    assert [each.label for each in overview.keys] == ["many · pipeline"]


def test_the_page_asks_no_more_for_a_longer_ledger(
    console, django_assert_max_num_queries
):
    def fill(numbers):
        for number in numbers:
            user = make_user()
            entry(
                number % 20,
                model=f"model-{number % 12}",
                user=user,
                key=make_key(user)[0],
                team=make_team(user),
            )
            make_worker(f"model-{number % 3}", expired_at=now())
        rollups.roll_up()

    asked = {"days": 7, "by": "team"}
    console.get(INDEX, asked)  # what is asked once per process
    with django_assert_max_num_queries(45) as for_none:
        console.get(INDEX, asked)
    fill(range(2))
    # The names of users, of keys and of teams, where there are some to be shown.
    with django_assert_max_num_queries(len(for_none) + 3) as for_few:
        console.get(INDEX, asked)
    fill(range(2, 60))

    with django_assert_max_num_queries(len(for_few)):
        console.get(INDEX, asked)


# -- What needs attention --------------------------------------------------------------


def looks(console):
    return {item.words: item.url for item in console.get(INDEX).context["attention"]}


def break_worker():
    WorkerBreaker.objects.create(
        worker=make_worker("a"),
        process="web-1",
        state="open",
        reason="it answered 500",
        since=now(),
    )


def lose_tokens():
    at = now() - timedelta(hours=1)
    values = {"first_prompt_tokens": 0, "first_completion_tokens": 0}
    values |= {"last_prompt_tokens": 900, "last_completion_tokens": 100}
    EngineStart.objects.create(
        worker=make_worker("a"),
        start_id="s",
        first_heard_at=at,
        last_heard_at=at,
        reconciled_at=now(),
        counted_prompt_tokens=900,
        counted_completion_tokens=98,
        **values,
    )


def ask_for_more():
    user = make_user()
    limit = Limit.put("tokens_per_day", 10, user_id=user.pk)
    LimitRequest.objects.create(
        user=user, limit=limit, kind=limit.kind, amount=20, reason="more"
    )


@pytest.mark.parametrize(
    ("make", "words", "url"),
    [
        (break_worker, "The breaker of 1 worker is open.", reverse("fleet")),
        (
            lambda: make_worker("a", expired_at=now()),
            "1 worker has been lost.",
            "/admin/controller/worker/?state=expired",
        ),
        (
            lambda: make_key(expires_at=now() - timedelta(hours=1)),
            "1 API key has expired in the last week.",
            "/admin/controller/apikey/?state=expired",
        ),
        (
            lose_tokens,
            "1 engine counted other tokens than the ledger.",
            "/admin/controller/enginestart/",
        ),
        (
            ask_for_more,
            "1 request for more waits for an answer.",
            "/admin/controller/limitrequest/?state__exact=open",
        ),
        (
            make_moderation_flag,
            "1 moderation flag waits for a verdict.",
            "/admin/controller/moderationflag/?verdict__exact=open",
        ),
        (
            lambda: entry(3),
            "1 hour of the ledger waits for the task worker to add it.",
            reverse("usage"),
        ),
        (
            lambda: make_user(approval_asked_at=now()),
            "1 new account waits for approval.",
            "/admin/controller/user/?approval=waits",
        ),
    ],
)
def test_what_needs_attention_leads_to_where_it_is_mended(console, make, words, url):
    assert looks(console) == {}

    make()

    found = looks(console)
    assert found[words] == url
    assert console.get(found[words]).status_code == 200


def test_what_is_as_it_should_be_needs_none(console):
    make_worker("a")
    make_key(expires_at=now() + timedelta(days=1))
    make_key(expires_at=now() - timedelta(days=60))
    entry(0)
    entry(1)

    assert looks(console) == {}


def test_nobody_is_told_of_what_they_may_not_see(client, db):
    break_worker()
    make_key(expires_at=now() - timedelta(hours=1))
    user = make_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_apikey"))
    client.force_login(user)

    page = client.get(INDEX)

    assert [item.words for item in page.context["attention"]] == [
        "1 API key has expired in the last week."
    ]
    assert "overview" not in page.context
    assert "alerts" not in page.context
    assert "lines" not in page.context


def test_budgets_that_are_nearly_spent_are_shown(console):
    limit = Limit.put("tokens_per_day", 100, user_id=make_user(username="ann").pk)
    for threshold, is_covered in ((80, True), (100, False)):
        BudgetAlert.objects.create(
            limit=limit,
            period_start=now().date(),
            threshold=threshold,
            total=100,
            used=100,
            is_covered=is_covered,
        )

    [alert] = console.get(INDEX).context["alerts"]

    assert alert.threshold == 100
