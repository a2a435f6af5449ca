"""The roles as a table: every page and action of the console against every role."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from controller.accounts.roles import AUDITORS, OPERATORS, ensure_roles
from controller.models import Membership
from tests.controller.console import actions, addresses, make_everything
from tests.factories import make_operator, make_team, make_user
from tests.rows import add_copies, first_or_new

# What is written by looking: the session, and who looked.
SEEN = ("django_session",)
# Of powers, superusers alone dispose.
SUPERUSERS_ONLY = {"auth_group_add", "auth_group_delete"}


@pytest.fixture(autouse=True)
def rows(db):
    cache.clear()
    make_everything()


def member_of(group):
    user = make_user(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user


def owner():
    user = make_user()
    team = make_team(user)
    Membership.objects.filter(team=team).update(role=Membership.Role.OWNER)
    return user


def writes(queries):
    """The statements that changed something."""
    return [
        query["sql"][:200]
        for query in queries
        if query["sql"].startswith(("INSERT", "UPDATE", "DELETE"))
        and not any(table in query["sql"].split("WHERE")[0] for table in SEEN)
    ]


OUTSIDERS = {"stranger": None, "user": make_user, "owner of a team": owner}


@pytest.mark.parametrize("role", OUTSIDERS)
def test_nobody_without_a_role_sees_or_does_anything(client, role):
    if make := OUTSIDERS[role]:
        client.force_login(make())
    wrong = []

    with CaptureQueriesContext(connection) as queries:
        for name, address in addresses():
            for answer in (client.get(address), client.post(address, {"post": "yes"})):
                to_the_door = answer.status_code == 302 and "login" in answer.url
                if not to_the_door and answer.status_code not in {403, 404}:
                    wrong.append((name, answer.status_code))
        for where, action, key in actions():
            client.post(where, {"action": action, "_selected_action": [key]})

    assert wrong == []
    assert writes(queries) == []


def test_the_door_says_403_to_those_who_have_no_role(client):
    client.force_login(owner())

    answer = client.get(reverse("admin:controller_team_changelist"), follow=True)

    assert answer.status_code == 403


def test_an_auditor_reads_every_list_and_every_row(client):
    client.force_login(member_of(AUDITORS))
    closed = [
        (name, answer.status_code)
        for name, address in addresses()
        if name.endswith(("_changelist", "_change", "_history"))
        and (answer := client.get(address)).status_code != 200
    ]

    assert closed == [("auth_user_password_change", 403)]


def test_an_auditor_changes_nothing_by_any_page_or_action(client):
    client.force_login(member_of(AUDITORS))
    broken = []

    with CaptureQueriesContext(connection) as queries:
        for name, address in addresses():
            answers = client.get(address), client.post(address, {"post": "yes"})
            broken += [name for each in answers if each.status_code >= 500]
        for where, action, key in actions():
            form = {"action": action, "_selected_action": [key], "post": "yes"}
            client.post(where, form)

    assert broken == []
    assert writes(queries) == []


def test_an_auditor_is_offered_no_action(client, rf):
    request = rf.get("/")
    request.user = member_of(AUDITORS)

    offered = {
        model._meta.label: list(page.get_actions(request))
        for model, page in admin.site._registry.items()
        if page.get_actions(request)
    }

    assert offered == {}


def test_an_auditor_reads_no_text_of_people_unless_granted():
    auditor = member_of(AUDITORS)

    assert not auditor.has_perm("controller.view_message_text")
    assert auditor.has_perm("controller.view_moderationflag")


def test_an_operator_can_open_all_that_a_superuser_can_but_powers(client):
    client.force_login(make_operator())
    superusers = {name: client.get(path).status_code for name, path in addresses()}
    client.force_login(member_of(OPERATORS))

    different = {
        name
        for name, address in addresses()
        if client.get(address).status_code != superusers[name]
    }

    assert different == SUPERUSERS_ONLY
    assert 500 not in superusers.values()


def test_an_operator_hands_out_no_powers(client):
    operator = member_of(OPERATORS)
    client.force_login(operator)
    group = Group.objects.get(name=AUDITORS)
    before = set(group.permissions.all())

    client.post(
        reverse("admin:auth_group_change", args=[group.pk]),
        {"name": AUDITORS, "permissions": [Permission.objects.first().pk]},
    )
    page = reverse("admin:controller_user_change", args=[operator.pk])
    client.post(page, {"username": operator.username, "is_superuser": "on"})

    operator.refresh_from_db()
    assert set(group.permissions.all()) == before
    assert not operator.is_superuser


def test_giving_somebody_a_role_lets_them_into_the_console(client):
    client.force_login(make_operator())
    user = make_user()
    form = {
        "username": user.username,
        "is_active": "on",
        "groups": [Group.objects.get(name=AUDITORS).pk],
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00",
    }

    client.post(reverse("admin:controller_user_change", args=[user.pk]), form)

    user.refresh_from_db()
    assert user.is_staff


def test_making_the_roles_again_takes_nothing_away():
    group = Group.objects.get(name=AUDITORS)
    granted = Permission.objects.get(codename="change_team")
    group.permissions.add(granted)
    removed = Permission.objects.get(codename="view_team")
    group.permissions.remove(removed)

    ensure_roles()

    assert {granted, removed} <= set(group.permissions.all())


@pytest.mark.parametrize("model", list(admin.site._registry), ids=lambda m: m.__name__)
def test_a_list_asks_as_many_queries_for_10000_rows_as_for_10(
    client, model, django_assert_max_num_queries
):
    client.force_login(make_operator())
    where = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    row = first_or_new(model)
    add_copies(row, 10)
    client.get(reverse(where))  # what is asked once per process
    with django_assert_max_num_queries(40) as for_few:
        client.get(reverse(where))
    add_copies(row, 10_000)

    with django_assert_max_num_queries(len(for_few)):
        page = client.get(reverse(where))

    assert model._default_manager.count() >= 10_000
    assert len(page.context["cl"].result_list) >= 50
