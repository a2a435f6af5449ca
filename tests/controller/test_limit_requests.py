"""Asking for more of a limit, and the operators' answers in the console."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.urls import reverse

from controller.limits.book import load_book
from controller.limits.requests import ask, decide, withdraw
from controller.models import Limit, LimitRequest, Revision
from tests.factories import make_operator, make_user

LIST = reverse("admin:controller_limitrequest_changelist")
pytestmark = pytest.mark.django_db


def asked(amount=5000, **fields):
    """An open request of a user for more than their 1000 tokens a day."""
    user = make_user(**fields)
    limit = Limit.put("tokens_per_day", 1000, user_id=user.pk)
    return ask(user, limit, Decimal(amount), "the demo on Friday")


def console_of(client, operator=None):
    client.force_login(operator or make_operator())
    return client


def page_of(request, action):
    name = f"admin:controller_limitrequest_{action}"
    return reverse(name, args=[request.pk])


def held(limit):
    """What web processes hold a caller to after they have loaded the limits anew."""
    return {view.id: view.amount for view in load_book()}.get(limit.pk)


def test_approving_sets_the_limit_and_web_processes_hear_of_it():
    request, operator = asked(), make_operator()
    before = Revision.current().keys

    decided = decide(request.pk, operator, Decimal(3000), "for this week")

    assert held(request.limit) == 3000
    assert Revision.current().keys > before
    assert (decided.state, decided.granted) == ("approved", 3000)
    assert (decided.answer, decided.decided_by) == ("for this week", operator)
    assert decided.decided_at is not None


def test_denying_leaves_the_limit_and_keeps_the_reason():
    request = asked()

    decided = decide(request.pk, make_operator(), None, "there is no room")

    assert held(request.limit) == 1000
    assert (decided.state, decided.granted) == ("denied", None)
    assert decided.answer == "there is no room"


@pytest.mark.parametrize("second", [Decimal(9000), None], ids=["approve", "deny"])
def test_the_second_of_two_operators_is_told_who_was_first(second):
    request = asked()
    decide(request.pk, make_operator(username="ann"), Decimal(5000))

    with pytest.raises(ValidationError, match="approved already, by ann at"):
        decide(request.pk, make_operator(), second)

    request.refresh_from_db()
    assert (request.state, request.granted) == ("approved", 5000)
    assert held(request.limit) == 5000


def test_a_deleted_limit_is_not_raised_and_its_request_can_be_denied():
    request = asked()
    request.limit.remove()

    with pytest.raises(ValidationError, match="limit was deleted"):
        decide(request.pk, make_operator(), Decimal(5000))

    request.refresh_from_db()
    assert (request.state, request.kind) == ("open", "tokens_per_day")
    assert not Limit.objects.exists()
    assert decide(request.pk, make_operator(), None, "gone").state == "denied"


@pytest.mark.parametrize("granted", [Decimal("-1"), Decimal("0.5"), Decimal(10**12)])
def test_what_no_limit_can_be_is_not_granted(granted):
    request = asked()

    with pytest.raises(ValidationError):
        decide(request.pk, make_operator(), granted)

    request.refresh_from_db()
    assert request.is_open
    assert held(request.limit) == 1000


def test_of_a_limit_one_request_of_a_person_waits_at_most():
    request = asked()
    user, limit = request.user, request.limit

    with pytest.raises(ValidationError, match="wait for the answer"):
        ask(user, limit, Decimal(9000), "again")
    with pytest.raises(IntegrityError), transaction.atomic():
        LimitRequest.objects.create(user=user, limit=limit, amount=1)

    decide(request.pk, make_operator(), None, "no")
    ask(user, limit, Decimal(9000), "again")
    ask(make_user(), limit, Decimal(9000), "me too")
    assert LimitRequest.objects.open().count() == 2


@pytest.mark.parametrize("wished", [1000, 999, Decimal("1000.5"), 10**12])
def test_no_more_than_there_is_cannot_be_asked_for(wished):
    with pytest.raises(ValidationError):
        asked(wished)

    assert not LimitRequest.objects.exists()


def test_withdrawing_takes_back_what_waits_and_no_answer():
    waiting, answered = asked(), asked()
    decide(answered.pk, make_operator(), None, "no")

    withdraw(waiting)
    withdraw(answered)

    assert LimitRequest.objects.get() == answered


# -- the console ---------------------------------------------------------------


def test_the_list_has_those_that_wait_first(client):
    old = asked()
    answered = asked()
    decide(answered.pk, make_operator(), None, "no")

    answer = console_of(client).get(LIST)

    assert list(answer.context["cl"].result_list) == [old, answered]
    assert "the demo on Friday" in answer.text
    assert "Requests for more" in answer.text


def test_the_list_makes_as_many_queries_however_many_there_are(
    client, django_assert_max_num_queries
):
    console = console_of(client)
    asked()
    with django_assert_max_num_queries(50) as few:
        console.get(LIST)
    for _ in range(9):
        asked()

    with django_assert_max_num_queries(len(few)):
        console.get(LIST)


@pytest.mark.parametrize(("typed", "expected"), [("5000", 5000), ("2500", 2500)])
def test_an_operator_approves_with_the_amount_that_they_type(client, typed, expected):
    request = asked()
    page = page_of(request, "approve")
    assert 'value="5000"' in console_of(client).get(page).text

    answer = client.post(page, {"amount": typed, "answer": "fine"})

    assert answer.url == LIST
    assert held(request.limit) == expected


def test_who_denies_says_why(client):
    request = asked()
    page = page_of(request, "deny")
    console = console_of(client)

    assert console.post(page, {"answer": ""}).status_code == 200
    request.refresh_from_db()
    assert request.is_open

    console.post(page, {"answer": "no room"})
    request.refresh_from_db()
    assert (request.state, request.answer) == ("denied", "no room")


def test_a_form_that_was_open_when_another_answered_says_so(client):
    request = asked()
    decide(request.pk, make_operator(username="ann"), None, "no")

    answer = console_of(client).post(page_of(request, "approve"), {"amount": "5000"})

    assert "denied already, by ann" in answer.text
    assert held(request.limit) == 1000


def test_many_are_approved_as_asked_and_what_cannot_be_is_named(client):
    first, second, gone = asked(), asked(2000), asked(username="carl")
    gone.limit.remove()
    rows = [row.pk for row in (first, second, gone)]
    chosen = {"action": "approve_as_asked", "_selected_action": rows}

    answer = console_of(client).post(LIST, chosen, follow=True)

    assert (held(first.limit), held(second.limit)) == (5000, 2000)
    assert "2 requests approved." in answer.text
    assert "The limit was deleted since" in answer.text


@pytest.mark.parametrize(
    ("powers", "may"),
    [
        (["view_limitrequest"], False),
        (["view_limitrequest", "change_limitrequest"], False),
        (["view_limitrequest", "change_limit"], False),
        (["view_limitrequest", "change_limitrequest", "change_limit"], True),
    ],
    ids=str,
)
def test_only_who_may_set_limits_answers(client, powers, may):
    helper = make_user(is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=powers))
    request = asked()
    console = console_of(client, helper)
    assert console.get(LIST).status_code == 200

    console.post(page_of(request, "approve"), {"amount": "5000"})

    assert held(request.limit) == (5000 if may else 1000)
