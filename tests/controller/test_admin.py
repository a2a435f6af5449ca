"""The console's door, its first page, and what holds for every list."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils.timezone import now

from controller.models import LedgerEntry, Limit, ProcessHeard
from tests.factories import (
    make_adapter,
    make_allowed_origin,
    make_invitation,
    make_join_token,
    make_key,
    make_ledger_entry,
    make_operator,
    make_served_model,
    make_team,
    make_user,
    make_worker,
)

INDEX = reverse("admin:index")
SIGN_IN = reverse("account_login")


@pytest.fixture
def operator(db):
    return make_operator(username="operator")


@pytest.fixture
def console(client, operator):
    client.force_login(operator)
    return client


def list_url(model):
    return reverse(f"admin:controller_{model}_changelist")


def test_a_stranger_is_sent_to_the_accounts_sign_in_and_on(client, db):
    make_operator(username="ann", password="correct horse")

    answer = client.get(list_url("worker"), follow=True)
    assert answer.redirect_chain[-1][0] == f"{SIGN_IN}?next={list_url('worker')}"

    answer = client.post(
        answer.redirect_chain[-1][0], {"login": "ann", "password": "correct horse"}
    )
    assert answer.url == list_url("worker")


def test_the_consoles_own_form_signs_nobody_in(client, db):
    make_operator(username="ann", password="correct horse")

    client.post(
        reverse("admin:login"), {"username": "ann", "password": "correct horse"}
    )

    assert "_auth_user_id" not in client.session


def test_somebody_who_is_no_operator_is_told_so_once(client, db):
    client.force_login(make_user(username="ann"))

    answer = client.get(INDEX, follow=True)

    assert answer.status_code == 403
    assert len(answer.redirect_chain) == 1
    assert b"signed in as <strong>ann</strong>" in answer.content


def test_the_sign_in_sends_on_to_this_site_only(console):
    answer = console.get(reverse("admin:login"), {"next": "https://evil.example/"})

    assert answer.url == INDEX


def test_staff_sees_what_it_has_permission_for(client, db):
    staff = make_user(is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_worker"))
    client.force_login(staff)

    page = client.get(INDEX).content.decode()

    assert list_url("worker") in page
    assert list_url("ledgerentry") not in page
    assert client.get(list_url("ledgerentry")).status_code == 403


def test_the_first_page_says_how_to_begin(console):
    page = console.get(INDEX)

    assert page.context["fleet"]["num_registered"] == 0
    assert reverse("fleet_add") in page.content.decode()
    assert "Task worker last heard: never" in page.content.decode()


def test_the_first_page_counts_what_is_dispatched_to(console):
    make_worker("llama", "qwen")
    make_worker("llama")
    make_worker("gone", last_heartbeat_at=now() - timedelta(hours=1))
    make_worker("left", left_at=now())
    make_worker(make_served_model("off", is_enabled=False))

    fleet = console.get(INDEX).context["fleet"]

    assert fleet == {"num_registered": 4, "num_live": 3, "num_models": 2}


def test_the_first_page_sums_the_last_hour(console):
    make_ledger_entry(prompt_tokens=7, completion_tokens=3)
    make_ledger_entry(prompt_tokens=1, completion_tokens=2, status=502)
    make_ledger_entry(created_at=now() - timedelta(hours=2))

    assert console.get(INDEX).context["last_hour"] == {
        "num_requests": 2,
        "num_failed": 1,
        "prompt_tokens": 8,
        "completion_tokens": 5,
    }


@pytest.mark.parametrize(("seconds", "is_well"), [(20, True), (90, False)])
def test_the_first_page_says_when_the_task_worker_was_heard(console, seconds, is_well):
    heard_at = now() - timedelta(seconds=seconds)
    ProcessHeard.objects.create(name=ProcessHeard.TASK_WORKER, heard_at=heard_at)

    assert console.get(INDEX).context["task_worker"]["is_well"] == is_well


@pytest.mark.parametrize("model", list(admin.site._registry), ids=str)
def test_every_list_and_form_opens(console, model):
    model_admin = admin.site._registry[model]
    name = f"{model._meta.app_label}_{model._meta.model_name}"

    assert console.get(reverse(f"admin:{name}_changelist")).status_code == 200
    added = console.get(reverse(f"admin:{name}_add"))
    allowed = model_admin.has_add_permission(added.wsgi_request)
    assert added.status_code == (200 if allowed else 403)


def test_every_list_says_what_comes_there(console):
    # There is no site without them.
    full = {"controller.user", "auth.group", "auditlog.logentry"}

    silent = {
        model._meta.label_lower
        for model, page in admin.site._registry.items()
        if not page.words_when_empty
    }

    assert silent == full


def test_an_empty_list_offers_no_filters_to_reset(console):
    bans = reverse("admin:controller_ban_changelist")

    empty = console.get(bans).text
    searched = console.get(bans, {"q": "ann"}).text
    filtered = console.get(bans, {"state": "over"}).text

    assert "Nobody is banned." in empty
    assert "Show all" not in empty
    for page in (searched, filtered):
        assert "Nothing matches" in page
        assert "Show all" in page


MAKERS = {
    "worker": lambda n: make_worker(f"model-{n % 3}", "common"),
    "servedmodel": lambda n: (
        make_worker(
            make_served_model(aliases=[f"alias-{n}"], fallback=make_served_model())
        )
        .served_models.get()
        .teams.add(make_team())
    ),
    "adapter": lambda n: make_adapter(
        make_worker(f"model-{n % 3}", takes_adapters=True).served_models.get()
    ),
    "jointoken": lambda n: make_join_token(created_by=make_user()),
    "apikey": lambda n: make_key(team=make_team()),
    "limit": lambda n: Limit.put("tokens_per_day", 1, key_id=make_key()[0].pk),
    "allowedorigin": lambda n: make_allowed_origin(),
    "invitation": lambda n: make_invitation(invited_by=make_user()),
    "user": lambda n: make_key(make_user()),
    "team": lambda n: make_team(make_user()),
    "ledgerentry": lambda n: make_ledger_entry(
        user=make_user(), key=make_key()[0], worker=make_worker()
    ),
}


@pytest.mark.parametrize("model", MAKERS)
def test_a_list_asks_as_many_queries_for_many_rows_as_for_few(
    console, model, django_assert_max_num_queries
):
    make = MAKERS[model]
    for number in range(10):
        make(number)
    console.get(list_url(model))  # what is asked once per process
    with django_assert_max_num_queries(30) as for_few:
        console.get(list_url(model))
    for number in range(10, 60):
        make(number)

    with django_assert_max_num_queries(len(for_few)):
        console.get(list_url(model))


@pytest.fixture
def entry(operator):
    key, _ = make_key(operator, name="laptop")
    return make_ledger_entry(user=operator, key=key, worker=make_worker())


def test_the_ledger_is_read_and_not_written(console, entry):
    page = reverse("admin:controller_ledgerentry_change", args=[entry.pk])

    assert console.get(page).status_code == 200
    assert console.post(page, {"model": "other"}).status_code == 403
    delete = reverse("admin:controller_ledgerentry_delete", args=[entry.pk])
    assert console.post(delete, {"post": "yes"}).status_code == 403
    assert LedgerEntry.objects.get().model == entry.model


def test_the_ledger_is_searched_by_a_whole_request_id(console, entry):
    make_ledger_entry()

    found = console.get(list_url("ledgerentry"), {"q": entry.request_id})

    assert list(found.context["cl"].result_list) == [entry]


def test_the_ledger_outlives_whom_it_speaks_of(console, operator):
    user = make_user()
    key, _ = make_key(user)
    entry = make_ledger_entry(user=user, key=key, worker=make_worker())
    user.delete()

    page = console.get(list_url("ledgerentry"))
    assert page.status_code == 200
    assert list(page.context["cl"].result_list) == [entry]
    change = reverse("admin:controller_ledgerentry_change", args=[entry.pk])
    assert console.get(change).status_code == 200


@pytest.mark.parametrize(
    ("outcome", "statuses"),
    [("done", {200}), ("refused", {404, 429}), ("failed", {502})],
)
def test_the_ledger_is_filtered_by_outcome(console, outcome, statuses):
    for status in (200, 404, 429, 502):
        make_ledger_entry(status=status)

    found = console.get(list_url("ledgerentry"), {"outcome": outcome})

    assert {entry.status for entry in found.context["cl"].result_list} == statuses


def test_the_ledger_is_filtered_by_model_and_face(console):
    make_served_model("llama")
    wanted = make_ledger_entry(model="llama", face="chat")
    make_ledger_entry(model="llama", face="api")
    make_ledger_entry(model="qwen", face="chat")

    found = console.get(
        list_url("ledgerentry"), {"model": "llama", "face__exact": "chat"}
    )

    assert list(found.context["cl"].result_list) == [wanted]
