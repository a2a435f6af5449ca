from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils.timezone import now

from controller.fleet.snapshot import Canary, load_snapshot
from controller.models import (
    ModelAlias,
    Revision,
    ServedModel,
    Worker,
    WorkerBreaker,
)
from tests.factories import (
    make_operator,
    make_served_model,
    make_team,
    make_user,
    make_worker,
)

WORKERS = reverse("admin:controller_worker_changelist")
MODELS = reverse("admin:controller_servedmodel_changelist")
ADD_MODEL = reverse("admin:controller_servedmodel_add")


@pytest.fixture
def console(client, db):
    client.force_login(make_operator())
    return client


def ago(seconds):
    return now() - timedelta(seconds=seconds)


def fleet_revision():
    return Revision.current()[0]


def act(client, action, *workers):
    fields = {"action": action, "_selected_action": [str(row.pk) for row in workers]}
    return client.post(WORKERS, fields | {"post": "yes"}, follow=True)


def change_url(row):
    return reverse(f"admin:controller_{row._meta.model_name}_change", args=[row.pk])


STATES = [
    ("live", {}),
    ("silent", {"last_heartbeat_at": 12}),
    ("expired", {"last_heartbeat_at": 16}),
    ("expired", {"expired_at": 0}),
    ("loading", {"state": "loading"}),
    ("failed", {"state": "failed"}),
    ("draining", {"drain_wished": True}),
    ("draining", {"state": "draining"}),
    ("disabled", {"is_enabled": False}),
    ("disabled", {"is_enabled": False, "last_heartbeat_at": 16}),
    ("left", {"left_at": 0}),
]


@pytest.mark.parametrize(("state", "fields"), STATES)
def test_a_worker_is_found_under_its_state_and_no_other(console, state, fields):
    moments = {name: ago(x) for name, x in fields.items() if name.endswith("_at")}
    worker = make_worker(**fields | moments)

    found = {
        shown: list(console.get(WORKERS, {"state": shown}).context["cl"].result_list)
        for shown in dict(STATES)
    }

    assert found.pop(state) == [worker]
    assert not any(found.values())


def test_workers_that_left_are_listed_only_when_asked_for(console):
    worker = make_worker()
    make_worker(left_at=now())

    assert list(console.get(WORKERS).context["cl"].result_list) == [worker]


def test_the_list_shows_what_operators_decide_by(console):
    make_worker(
        "llama",
        engine="vllm",
        engine_version="0.32",
        running=3,
        waiting=41,
        kv_cache_usage=0.625,
        is_keyless=True,
        last_heartbeat_at=ago(3.2),
    )

    page = console.get(WORKERS).content.decode()

    for shown in ("llama", "vllm 0.32", "41", "62%", "keyless", "3 s ago"):
        assert shown in page


def test_a_loading_worker_is_shown_with_its_progress(console):
    loading = make_worker(state="loading", loading_progress=0.43)

    assert "loading, 43%" in console.get(WORKERS).content.decode()
    assert "loading, 43%" in console.get(change_url(loading)).content.decode()


def hold(worker, process, state, reason, seconds=0):
    WorkerBreaker.objects.create(
        worker=worker,
        process=process,
        state=state,
        reason=reason,
        since=ago(65),
        written_at=ago(seconds),
    )


def test_a_worker_shows_what_each_web_process_holds_against_it(console):
    worker, well = make_worker(), make_worker()
    hold(worker, "web:1", "half-open", "refuses connections")
    hold(worker, "web:2", "open", "5 of the last 8 failed")
    hold(well, "killed:3", "open", "long ago", seconds=60)

    listed = console.get(WORKERS).content.decode()
    page = console.get(change_url(worker)).content.decode()

    assert "open (2)" in listed
    assert listed.count("open (") == 1
    assert "web:1: half-open for 1 min: refuses connections" in page
    assert "web:2: open for 1 min: 5 of the last 8 failed" in page
    assert "closed everywhere" in console.get(change_url(well)).content.decode()


def test_the_list_asks_no_more_for_more_breakers(
    console, django_assert_max_num_queries
):
    for _ in range(20):
        hold(make_worker("llama"), "web:1", "open", "fails")

    with django_assert_max_num_queries(20):
        console.get(WORKERS)


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("drain", {"drain_wished": False}, {"drain_wished": True}),
        ("stop", {"drain_wished": False}, {"drain_wished": True, "stop_wished": True}),
        (
            "resume",
            {"drain_wished": True, "stop_wished": True},
            {"drain_wished": False, "stop_wished": False},
        ),
        ("rotate_key", {"rotation_wished": False}, {"rotation_wished": True}),
        ("enable", {"is_enabled": False}, {"is_enabled": True}),
        ("disable", {"is_enabled": True}, {"is_enabled": False}),
    ],
)
def test_an_action_changes_the_chosen_workers_and_is_announced(
    console, action, before, after
):
    chosen, other = make_worker(**before), make_worker(**before)
    revision = fleet_revision()

    act(console, action, chosen)

    assert Worker.objects.filter(**after).get() == chosen
    assert Worker.objects.filter(**before).get() == other
    assert fleet_revision() > revision
    assert LogEntry.objects.get().object_id == str(chosen.pk)


def test_removing_takes_a_worker_out_of_the_fleet(console):
    worker = make_worker()
    revision = fleet_revision()

    act(console, "remove", worker)

    assert not Worker.objects.registered().exists()
    assert fleet_revision() > revision


@pytest.mark.parametrize("action", ["stop", "remove"])
def test_what_ends_a_worker_is_asked_for_first(console, action):
    worker = make_worker()
    chosen = {"action": action, "_selected_action": [str(worker.pk)]}

    page = console.post(WORKERS, chosen).content.decode()

    assert worker.address in page
    worker.refresh_from_db()
    assert (worker.stop_wished, worker.left_at) == (False, None)


def test_who_may_only_look_cannot_drain(client, db):
    looker = make_user(is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_worker"))
    client.force_login(looker)
    worker = make_worker()

    act(client, "drain", worker)

    worker.refresh_from_db()
    assert not worker.drain_wished


def save(client, worker, **fields):
    form = {"is_enabled": "on", "weight": "1.0", "labels": "{}"}
    empty = {"placements-TOTAL_FORMS": "0", "placements-INITIAL_FORMS": "0"}
    return client.post(change_url(worker), form | empty | fields)


def test_the_form_writes_what_was_changed_and_leaves_the_heartbeat_alone(console):
    worker = make_worker(running=1)
    revision = fleet_revision()
    console.get(change_url(worker))
    Worker.objects.update(running=7)  # a heartbeat, while the form is open

    answer = save(console, worker, weight="2.5", labels='{"zone": "eu-1"}')

    assert answer.status_code == 302
    worker.refresh_from_db()
    assert (worker.weight, worker.labels) == (2.5, {"zone": "eu-1"})
    assert worker.running == 7
    assert fleet_revision() > revision


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("weight", "0"),
        ("weight", "nan"),
        ("weight", "inf"),
        ("labels", "[1]"),
        ("labels", '{"zone": 1}'),
    ],
)
def test_the_form_refuses_what_would_not_work(console, field, wrong):
    worker = make_worker()

    answer = save(console, worker, **{field: wrong})

    assert answer.context["errors"]
    worker.refresh_from_db()
    assert (worker.weight, worker.labels) == (1.0, {})


def test_what_the_system_writes_cannot_be_set(console):
    worker = make_worker()

    save(console, worker, address="http://evil.example", running="99", state="failed")

    changed = Worker.objects.get(pk=worker.pk)
    assert changed.address == worker.address
    assert (changed.running, changed.state) == (0, "ready")


def test_the_workers_page_shows_its_models(console):
    worker = make_worker("llama")

    page = console.get(change_url(worker)).content.decode()

    assert "llama" in page
    assert "4096" in page
    assert worker.credential_digest not in page


def test_adding_a_worker_leads_to_its_command(console):
    answer = console.get(reverse("admin:controller_worker_add_worker"))

    assert answer.url == reverse("fleet_add")


def model_form(name="", aliases=(), **fields):
    form = {"name": name, "description": "", "policy": "", "is_enabled": "on"}
    form |= {"price_prompt": "0", "price_cached": "", "price_completion": "0"}
    form |= {"aliases-TOTAL_FORMS": len(aliases), "aliases-INITIAL_FORMS": "0"}
    for number, alias in enumerate(aliases):
        form[f"aliases-{number}-name"] = alias
    return form | fields


def test_a_model_is_added_with_aliases_and_announced(console):
    revision = fleet_revision()

    console.post(ADD_MODEL, model_form("llama-3-8b", ["llama", "gpt-4o-mini"]))

    added = ServedModel.objects.get()
    assert {alias.name for alias in added.aliases.all()} == {"llama", "gpt-4o-mini"}
    assert fleet_revision() > revision


def test_an_alias_cannot_be_the_name_of_a_model(console):
    make_served_model("qwen")

    own = console.post(ADD_MODEL, model_form("llama", ["llama"]))
    others = console.post(ADD_MODEL, model_form("llama", ["qwen"]))

    assert "own name" in str(own.context["errors"])
    assert "qwen is the name of a model" in str(others.context["errors"])
    assert not ModelAlias.objects.exists()


def test_two_models_cannot_share_an_alias(console):
    make_served_model("qwen", aliases=["small"])

    taken = console.post(ADD_MODEL, model_form("llama", ["small"]))
    twice = console.post(ADD_MODEL, model_form("llama", ["tiny", "tiny"]))

    assert taken.context["errors"]
    assert twice.context["errors"]
    assert ModelAlias.objects.count() == 1


def test_a_model_cannot_be_named_as_an_alias(console):
    make_served_model("qwen", aliases=["small"])

    answer = console.post(ADD_MODEL, model_form("small"))

    assert "small is already an alias of qwen" in str(answer.context["errors"])


@pytest.mark.parametrize(
    "wrong", ["", "two words", "/etc/passwd", "-x", "é", "a" * 201]
)
def test_names_that_no_worker_could_offer_are_refused(console, wrong):
    answer = console.post(ADD_MODEL, model_form(wrong))

    assert answer.context["errors"]
    assert not ServedModel.objects.exists()


def test_prices_are_for_a_million_tokens_and_cached_ones_cost_no_other(console):
    model = make_served_model("llama")

    console.post(
        change_url(model), model_form(price_prompt="1.5", price_completion="6")
    )

    model.refresh_from_db()
    prices = model.prices
    assert (prices.prompt, prices.cached, prices.completion) == (
        1_500_000,
        1_500_000,
        6_000_000,
    )


def test_disabling_a_model_is_announced(console):
    model = make_served_model("llama")
    revision = fleet_revision()
    form = model_form(policy="lottery")
    del form["is_enabled"]

    console.post(change_url(model), form)

    model.refresh_from_db()
    assert (model.name, model.policy, model.is_enabled) == ("llama", "lottery", False)
    assert fleet_revision() > revision


def test_labels_that_a_model_requires_are_texts(console):
    model = make_served_model("llama")

    refused = console.post(change_url(model), model_form(required_labels='["eu"]'))
    console.post(change_url(model), model_form(required_labels='{"zone": "eu"}'))

    assert refused.context["errors"]
    model.refresh_from_db()
    assert model.required_labels == {"zone": "eu"}


def test_who_may_use_a_model_and_who_answers_is_what_the_form_said(console):
    model, fallback, team = make_served_model("a"), make_served_model("b"), make_team()
    fields = {
        "licence": "MIT",
        "teams": [team.pk],
        "default_parameters": '{"temperature": 0.2}',
        "system_prompt": "Be brief.",
        "context_limit": "2048",
        "canary_percent": "5",
        "canary_labels": '{"version": "2"}',
        "fallback": fallback.pk,
    }

    saved = console.post(change_url(model), model_form(**fields))

    assert saved.status_code == 302, saved.context["errors"]
    [view] = [each for each in load_snapshot().listed if each.name == "a"]
    assert view.audience.teams == {team.pk}
    assert (view.licence, view.system_prompt) == ("MIT", "Be brief.")
    assert view.default_parameters == {"temperature": 0.2}
    assert (view.context_limit, view.fallback) == (2048, "b")
    assert view.canary == Canary(share=0.05, labels={"version": "2"})


@pytest.mark.parametrize(
    ("field", "wrong", "reason"),
    [
        ("default_parameters", '{"temprature": 1}', "temprature"),
        ("default_parameters", "[1]", "object"),
        ("canary_percent", "101", "100"),
        ("canary_percent", "5", "which workers"),
        ("context_limit", "0", "1"),
        ("fallback", "itself", "stand in for itself"),
    ],
)
def test_what_a_model_cannot_be_is_refused_with_the_reason(
    console, field, wrong, reason
):
    model = make_served_model("a")
    given = model.pk if wrong == "itself" else wrong

    refused = console.post(change_url(model), model_form(**{field: given}))

    assert refused.status_code == 200
    assert reason in str(refused.context["errors"])


def test_live_workers_of_a_model_are_counted(console):
    make_worker("llama")
    make_worker("llama")
    make_worker("llama", last_heartbeat_at=ago(60))
    make_worker("llama", left_at=now())

    [model] = console.get(MODELS).context["cl"].result_list

    assert model.num_live == 2


def test_a_model_that_is_served_cannot_be_deleted(console):
    make_worker("llama")
    served, unserved = ServedModel.objects.get(), make_served_model("old")
    revision = fleet_revision()

    for model in (served, unserved):
        delete = f"admin:controller_{model._meta.model_name}_delete"
        console.post(reverse(delete, args=[model.pk]), {"post": "yes"})

    assert ServedModel.objects.get() == served
    assert fleet_revision() > revision
