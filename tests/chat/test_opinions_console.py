"""Votes and ratings in the console: counts, filters, and no texts."""

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from chat.comparisons import Asked, begin_comparison, vote
from chat.models import Message
from controller.accounts.roles import AUDITORS, OPERATORS
from controller.models import User
from tests.factories import make_operator, make_rated_answer, make_user

VOTES = reverse("admin:chat_comparison_changelist")
RATINGS = reverse("admin:chat_message_changelist")
pytestmark = pytest.mark.django_db


@pytest.fixture
def console(client):
    client.force_login(make_operator())
    return client


def member_of(group):
    user = make_user(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user


def voted(outcome, winner=None, models=("a", "b")):
    """A comparison of these models by somebody, with this outcome."""
    user = make_user()
    turns = begin_comparison(user, None, "a secret wish", [Asked(m) for m in models])
    prompt = Message.objects.get(pk=turns[0].message_id).parent_id
    winner_id = turns[winner].message_id if winner is not None else None
    if outcome:
        vote(user, prompt, outcome, winner_id)


def tallied(answer):
    return {each.model: each.cells for each in answer.context["tallies"]}


def test_votes_are_counted_by_model(console):
    voted("winner", 0)
    voted("winner", 1)
    voted("winner", 0, ("a", "c"))
    voted("tie")
    voted("all_bad")
    voted("")

    answer = console.get(VOTES)

    # compared, best, beaten, ties, all bad
    assert tallied(answer) == {
        "a": (6, 2, 1, 1, 1),
        "b": (5, 1, 1, 1, 1),
        "c": (1, 0, 1, 0, 0),
    }
    assert answer.text.index(">a</th>") < answer.text.index(">c</th>")


def test_the_counts_are_of_what_the_filters_leave(console):
    voted("winner", 0)
    voted("tie")

    answer = console.get(VOTES, {"vote": "tie"})

    assert len(answer.context["cl"].result_list) == 1
    assert tallied(answer) == {"a": (1, 0, 0, 1, 0), "b": (1, 0, 0, 1, 0)}


def test_ratings_are_counted_by_model_and_what_was_not_rated_is_not_there(console):
    user = make_user()
    for rating, model in ((1, "a"), (1, "a"), (-1, "a"), (-1, "b"), (None, "b")):
        make_rated_answer(user, rating, model=model)

    everything = console.get(RATINGS)
    bad = console.get(RATINGS, {"rated": "down"})

    assert len(everything.context["cl"].result_list) == 4
    assert tallied(everything) == {"a": (2, 1), "b": (0, 1)}
    assert tallied(bad) == {"a": (0, 1), "b": (0, 1)}


def test_no_text_of_a_conversation_is_shown_and_an_auditor_reads_no_reasons(client):
    row = make_rated_answer(
        make_user(), -1, content="my private answer", rating_reason="too rude"
    )
    voted("tie")
    pages = [RATINGS, VOTES, reverse("admin:chat_message_change", args=[row.pk])]
    texts = {}
    for group in (OPERATORS, AUDITORS):
        client.force_login(member_of(group))
        texts[group] = "".join(client.get(page).text for page in pages)

    assert "too rude" in texts[OPERATORS]
    assert "too rude" not in texts[AUDITORS]
    for text in texts.values():
        assert "my private answer" not in text
        assert "a secret wish" not in text


def test_the_page_of_a_message_that_nobody_rated_is_not_there(console):
    row = make_rated_answer(make_user(), None)

    answer = console.get(reverse("admin:chat_message_change", args=[row.pk]))

    assert answer.status_code == 302


def test_both_are_in_the_sidebar(console):
    text = console.get(reverse("admin:index")).text

    assert f'href="{VOTES}"' in text
    assert f'href="{RATINGS}"' in text


def test_an_account_with_ratings_and_votes_can_be_deleted_by_an_operator(client):
    user = make_user()
    make_rated_answer(user)
    client.force_login(member_of(OPERATORS))

    page = reverse("admin:controller_user_delete", args=[user.pk])
    client.post(page, {"post": "yes"})

    assert not User.objects.filter(pk=user.pk).exists()
