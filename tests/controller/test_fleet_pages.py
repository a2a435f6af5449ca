"""The pages of the fleet: who may see and decide what, and what is kept of it."""

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils.timezone import now

from controller import retention
from controller.fleet import arrivals, checking, registry
from controller.fleet.arrivals import ArrivalState, arrival_of
from controller.fleet.errors import WorkerRefused
from controller.fleet.samples import SampleBook, write_samples
from controller.fleet.series import series_of
from controller.models import JoinToken, LedgerEntry, Revision, Worker, WorkerSample
from tests.controller.fake_engine import make_join, make_offer
from tests.factories import (
    make_join_token,
    make_operator,
    make_served_model,
    make_user,
    make_worker,
)
from tests.servers import free_port
from workers.protocol import CheckRequest, Heartbeat, RefusalCode, WorkerState

FLEET = reverse("fleet")
ADD = reverse("fleet_add")


@pytest.fixture
def console(client, db):
    client.force_login(make_operator())
    return client


def staff(client, *codenames):
    user = make_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def decide(client, worker, name, **fields):
    return client.post(reverse("fleet_decision", args=[worker.pk, name]), fields)


# -- Who may what ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codenames", "statuses"),
    [
        ((), (403, 403, 403, 403)),
        (("view_worker",), (200, 200, 403, 403)),
        (("view_worker", "change_worker"), (200, 200, 200, 403)),
        (("add_jointoken",), (403, 403, 403, 200)),
    ],
)
def test_each_page_and_decision_wants_its_permission(client, db, codenames, statuses):
    worker = make_worker("a")
    staff(client, *codenames)

    answers = (
        client.get(FLEET),
        client.get(reverse("fleet_worker", args=[worker.pk])),
        decide(client, worker, "drain"),
        client.get(ADD),
    )

    assert tuple(answer.status_code for answer in answers) == statuses
    worker.refresh_from_db()
    assert worker.drain_wished is ("change_worker" in codenames)


def test_who_may_only_look_is_offered_no_decision(client, db):
    make_worker("a")

    shown = staff(client, "view_worker").get(FLEET)

    assert shown.context["page"]["mayChange"] is False
    assert ADD not in shown.content.decode()


def test_a_stranger_is_sent_to_the_door(client, db):
    make_worker("a")

    assert client.get(FLEET).status_code == 302


# -- What is decided -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "changed"),
    [
        ("drain", {}, {"drain_wished": True}),
        ("resume", {}, {"drain_wished": False, "stop_wished": False}),
        ("rotate_key", {}, {"rotation_wished": True}),
        ("weigh", {"weight": "2.5"}, {"weight": 2.5}),
    ],
)
def test_a_decision_is_carried_out_announced_and_kept(console, name, fields, changed):
    worker = make_worker("a", drain_wished=name == "resume")
    revision = Revision.current().fleet

    assert decide(console, worker, name, **fields).status_code == 200

    worker.refresh_from_db()
    assert {each: getattr(worker, each) for each in changed} == changed
    assert Revision.current().fleet > revision
    assert LogEntry.objects.get().object_id == str(worker.pk)


def test_a_removed_worker_is_gone_and_cannot_be_decided_on_again(console):
    worker = make_worker("a")

    assert decide(console, worker, "remove").status_code == 200
    assert Worker.objects.registered().count() == 0
    assert decide(console, worker, "drain").status_code == 404
    assert console.get(reverse("fleet_worker", args=[worker.pk])).status_code == 200


@pytest.mark.parametrize("wrong", ["0", "-1", "much", "", "nan", "1e9"])
def test_a_weight_that_cannot_be_is_refused_with_the_reason(console, wrong):
    worker = make_worker("a")

    refused = decide(console, worker, "weigh", weight=wrong)

    assert refused.status_code == 400
    assert refused.json()["error"]
    worker.refresh_from_db()
    assert worker.weight == 1


def test_what_is_no_decision_changes_nothing(console):
    assert decide(console, make_worker("a"), "explode").status_code == 404
    assert LogEntry.objects.count() == 0


# -- What is shown ---------------------------------------------------------------------


def test_the_page_asks_as_many_queries_for_many_workers_as_for_few(
    console, django_assert_max_num_queries
):
    def add(numbers):
        for number in numbers:
            worker = make_worker(f"model-{number % 3}", "common")
            WorkerSample.objects.create(worker=worker, running=1, waiting=0)

    add(range(3))
    console.get(FLEET)  # what is asked once per process
    with django_assert_max_num_queries(20) as for_few:
        console.get(FLEET)
    add(range(3, 40))

    with django_assert_max_num_queries(len(for_few)):
        shown = console.get(FLEET)

    page = shown.context["page"]
    assert len(page["workers"]) == len(page["sparks"]) == 40


def test_a_worker_is_shown_in_its_numbers_and_without_its_secrets(console):
    make_worker(
        make_served_model("a"),
        engine_key="the-engines-key",
        running=3,
        waiting=2,
        kv_cache_usage=0.5,
        prefix_cache_queries_total=200,
        prefix_cache_hits_total=50,
        num_restarts=1,
        last_heartbeat_at=now() - timedelta(minutes=5),
    )

    shown = console.get(FLEET)

    [worker] = shown.context["page"]["workers"]
    assert (worker["models"], worker["state"]) == (["a"], "expired")
    assert (worker["running"], worker["waiting"], worker["restarts"]) == (3, 2, 1)
    assert (worker["kv"], worker["hit_rate"]) == (0.5, 0.25)
    assert b"the-engines-key" not in shown.content


def finished(worker, status=200, ttft=None):
    """What a sample looks at of a finished request."""
    return LedgerEntry(worker_id=worker.pk, status=status, ttft_seconds=ttft)


def beat(tokens, start_id="one", **fields):
    return Heartbeat(
        state=WorkerState.READY,
        start_id=start_id,
        generation_tokens_total=tokens,
        **fields,
    )


def test_samples_of_two_processes_add_up_to_a_workers_line(db):
    worker, other = make_worker("a"), make_worker("a")
    one, two = SampleBook(), SampleBook()
    one.hear({worker.pk: (now(), beat(10, running=4, waiting=1, kv_cache_usage=0.5))})
    one.note(finished(worker, ttft=1.0))
    two.note(finished(worker, ttft=3.0))
    two.note(finished(worker, status=502))
    for book in (one, two):
        write_samples(book.take([worker.pk, other.pk]))

    line = series_of(timedelta(hours=1))[worker.pk]

    assert (line.queue[-1], line.kv[-1], line.ttft[-1]) == (5, 0.5, 2.0)
    assert (line.requests[-1], line.errors[-1]) == (3, 1)
    assert WorkerSample.objects.filter(worker=other).count() == 0
    assert one.take([worker.pk]) == []


def test_tokens_a_second_are_counted_within_one_start_of_an_engine(db):
    worker = make_worker("a")
    totals = ((20, 1000, "one"), (15, 4000, "one"), (10, 100, "two"), (5, 700, "two"))
    for minutes, tokens, start_id in totals:
        WorkerSample.objects.create(
            worker=worker,
            taken_at=now() - timedelta(minutes=minutes, seconds=-1),
            start_id=start_id,
            running=0,
            waiting=0,
            generation_tokens_total=tokens,
        )

    speeds = series_of(timedelta(hours=1))[worker.pk].tokens_per_second

    assert [each for each in speeds if each is not None] == [10.0, 2.0]


def test_samples_are_kept_for_a_day(db):
    worker = make_worker("a")
    old = now() - timedelta(days=1, minutes=1)
    WorkerSample.objects.create(worker=worker, taken_at=old)
    kept = WorkerSample.objects.create(worker=worker)

    retention.purge("worker samples")

    assert WorkerSample.objects.get() == kept


# -- How one is added ------------------------------------------------------------------


def test_the_command_holds_a_one_time_token_that_is_shown_once(console, settings):
    settings.PUBLIC_URL = "https://llm.example.com"
    shown = console.post(ADD, {"engine": "vllm_worker", "model": "/models/a b"})

    token = JoinToken.objects.get()
    command = shown.context["command"]
    assert f"SWITCHYARD_JOIN_TOKEN={token.prefix}" in command
    assert "workers.vllm_worker --model-path '/models/a b'" in command
    assert "--controller-address https://llm.example.com" in command
    assert (token.is_reusable, token.is_keyless) == (False, False)
    assert timedelta(0) < token.expires_at - now() <= timedelta(hours=1)
    assert "no-store" in shown["Cache-Control"]
    secret = command.split("=")[1].split()[0]
    assert secret not in console.get(ADD).content.decode()


def test_looking_at_the_page_makes_no_token(console):
    console.get(ADD)
    refused = console.post(ADD, {"engine": "steam"})

    assert refused.status_code == 200
    assert JoinToken.objects.count() == 0


@pytest.fixture
def token(db):
    return make_join_token()


def state_of(token):
    token.refresh_from_db()
    return arrival_of(token).state


def test_what_is_missing_is_told_until_the_worker_is_there(token):
    row, _secret = token
    assert state_of(row) == ArrivalState.UNHEARD

    loading = CheckRequest(state=WorkerState.LOADING, loading_progress=0.43)
    arrivals.note_state(row, loading)
    assert state_of(row) == ArrivalState.LOADING
    assert "43%" in arrival_of(row).title

    arrivals.note_state(row, CheckRequest(state=WorkerState.FAILED))
    assert state_of(row) == ArrivalState.FAILING

    JoinToken.objects.update(heard_at=now() - timedelta(minutes=2))
    assert state_of(row) == ArrivalState.SILENT

    make_worker("a", join_token=row)
    assert state_of(row) == ArrivalState.ARRIVED


@pytest.mark.django_db(transaction=True)
def test_an_agent_whose_engine_loads_is_heard_by_its_token(token):
    row, secret = token
    check = CheckRequest(state=WorkerState.LOADING)

    async_to_sync(checking.check)(check, secret)

    assert state_of(row) == ArrivalState.LOADING
    assert JoinToken.objects.usable().get() == row


@pytest.mark.django_db(transaction=True)
def test_an_engine_that_cannot_be_reached_is_told_apart_from_other_refusals(token):
    row, secret = token
    join = make_join(
        address=f"http://127.0.0.1:{free_port()}",
        models=[make_offer()],
        engine_key="k" * 32,
    )

    with pytest.raises(WorkerRefused):
        async_to_sync(registry.register)(join, secret)

    assert state_of(row) == ArrivalState.UNREACHED
    assert row.refusal_code == RefusalCode.ENGINE_UNREACHABLE
    assert arrival_of(row).advice == row.refusal
    arrivals.note_refusal(
        secret, WorkerRefused(RefusalCode.ENGINE_OPEN, "It answers without its key.")
    )
    assert state_of(row) == ArrivalState.REFUSED


def test_a_refusal_is_forgotten_when_the_engine_starts_anew(token):
    row, secret = token
    arrivals.note_refusal(
        secret, WorkerRefused(RefusalCode.ADDRESS_TAKEN, "Somebody is there.")
    )
    arrivals.note_state(row, CheckRequest(state=WorkerState.LOADING))

    assert state_of(row) == ArrivalState.LOADING


def test_a_token_that_was_revoked_is_waited_for_in_vain(token):
    row, _secret = token
    row.revoke()

    assert state_of(row) == ArrivalState.CLOSED


def test_the_page_that_waits_is_led_to_the_worker(console, token):
    row, _secret = token
    worker = make_worker("a", join_token=row)

    told = console.get(reverse("fleet_arrival", args=[row.pk])).json()

    assert told["state"] == "arrived"
    assert told["url"] == reverse("fleet_worker", args=[worker.pk])
