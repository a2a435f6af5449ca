"""Adapters as rows: what workers are told, what they say, what operators see."""

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils.timezone import now

from controller.fleet import registry
from controller.fleet.adapters import MAX_ADAPTERS
from controller.fleet.errors import WorkerRefused
from controller.fleet.heartbeats import write_heartbeats
from controller.fleet.snapshot import load_snapshot
from controller.models import Adapter, Placement, Revision, ServedModel, Worker
from tests.controller.fake_engine import make_join, make_offer, running_engine
from tests.factories import (
    make_adapter,
    make_join_token,
    make_operator,
    make_placement,
    make_served_model,
    make_user,
    make_worker,
)
from workers.protocol import (
    AdapterReport,
    AdapterState,
    AdapterWish,
    Heartbeat,
    RefusalCode,
    WorkerState,
)

ADD = reverse("admin:controller_adapter_add")
LIST = reverse("admin:controller_adapter_changelist")


@pytest.fixture
def console(client, db):
    client.force_login(make_operator())
    return client


@pytest.fixture
def worker(db):
    """It serves llama and takes adapters."""
    return make_worker("llama", takes_adapters=True)


def wished_of(worker):
    wishes = load_snapshot().workers[worker.id].adapters
    return wishes and [wish.name for wish in wishes]


def says(worker, *reports: AdapterReport):
    """Write a heartbeat of the worker that speaks so of its adapters."""
    beat = Heartbeat(
        state=WorkerState.READY, start_id=worker.start_id, adapters=list(reports)
    )
    write_heartbeats({worker.id: (now(), beat)})


# -- What workers are told ------------------------------------------------------------


def test_a_worker_of_the_parent_that_takes_adapters_is_told_of_them(worker):
    make_adapter("llama", "sql", source="/adapters/sql")
    without = make_worker("llama")
    of_another = make_worker("qwen", takes_adapters=True)

    workers = load_snapshot().workers
    assert workers[worker.id].adapters == [
        AdapterWish(name="sql", parent="llama", source="/adapters/sql")
    ]
    assert workers[without.id].adapters is None
    assert workers[of_another.id].adapters == []


def test_an_adapter_that_is_disabled_or_deleted_is_wished_no_more(worker):
    make_adapter("llama", "off", is_enabled=False)
    gone = make_adapter("llama", "gone")
    make_adapter("llama", "sql")
    gone.delete()

    assert wished_of(worker) == ["sql"]
    assert not ServedModel.objects.filter(name="gone").exists()


def test_what_a_worker_serves_as_an_adapter_itself_carries_no_adapters(worker):
    style = make_served_model("style")
    make_placement(worker, style, parent="llama")
    make_adapter(style, "on-top")

    assert wished_of(worker) == []


# -- What workers say -----------------------------------------------------------------


async def offer_adapter(engine, name="sql", parent="llama"):
    _, secret = await sync_to_async(make_join_token)()
    offers = [make_offer("llama"), make_offer(name, parent=parent)]
    engine.models = ("llama", name)
    return await registry.register(make_join(engine, models=offers), secret)


@pytest.mark.django_db(transaction=True)
async def test_a_loaded_adapter_is_a_served_model_with_its_parent():
    await sync_to_async(make_adapter)("llama", "sql")

    async with running_engine() as engine:
        await offer_adapter(engine)

    snapshot = await sync_to_async(load_snapshot)()
    assert snapshot.models["sql"].parent == "llama"
    assert snapshot.models["llama"].parent == ""
    assert len(snapshot.models["sql"].workers) == 1
    assert await Adapter.objects.acount() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("parent", [None, "qwen"])
async def test_another_model_cannot_take_an_adapters_name(parent):
    await sync_to_async(make_adapter)("llama", "sql")

    async with running_engine() as engine:
        with pytest.raises(WorkerRefused, match="'sql' is an adapter of") as refused:
            await offer_adapter(engine, parent=parent)

    assert refused.value.code == RefusalCode.MODEL_NAME_TAKEN
    assert not await Worker.objects.aexists()


def test_what_is_said_of_adapters_is_written_with_the_heartbeat(
    worker, django_assert_num_queries
):
    failed = AdapterReport(name="sql", state=AdapterState.FAILED, reason="no rank")

    with django_assert_num_queries(1):
        says(worker, failed)

    worker.refresh_from_db()
    assert worker.adapter_states == {"sql": {"state": "failed", "reason": "no rank"}}
    says(worker)
    worker.refresh_from_db()
    assert worker.adapter_states == {}


@pytest.mark.parametrize("wrong", ["\\u0000", "x" * 501, "\\ud800"])
def test_a_reason_that_a_database_would_refuse_is_refused_first(wrong):
    body = (
        '{"state": "ready", "start_id": "1", "adapters":'
        ' [{"name": "sql", "state": "failed", "reason": "%s"}]}'
    )
    assert msgspec.json.decode((body % "plain").encode(), type=Heartbeat)

    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode((body % wrong).encode(), type=Heartbeat)


# -- What operators do ----------------------------------------------------------------


def form(parent, **fields):
    values = {"name": "sql", "source": "/adapters/sql", "is_enabled": "on"}
    return values | {"parent": parent.pk, "policy": "", "description": ""} | fields


def problem(answer, field):
    return str(answer.context["adminform"].form.errors.get(field, ""))


def change_url(adapter):
    return reverse("admin:controller_adapter_change", args=[adapter.pk])


def test_an_adapter_that_is_added_is_wished_and_announced(console, worker):
    before = Revision.current()[0]

    answer = console.post(ADD, form(ServedModel.objects.get()), follow=True)

    assert wished_of(worker) == ["sql"]
    assert Revision.current()[0] > before
    assert "takes adapters" not in answer.content.decode()


def test_adding_one_that_no_worker_would_load_says_what_is_missing(console):
    make_worker("llama")

    answer = console.post(ADD, form(ServedModel.objects.get()), follow=True)

    assert "vllm_worker --enable-lora" in answer.content.decode()
    assert Adapter.objects.exists()


def test_names_that_are_taken_are_refused_with_the_repair(console):
    llama = make_served_model("llama", aliases=["small"])
    make_adapter(llama, "old")

    def refused(name):
        return problem(console.post(ADD, form(llama, name=name)), "name")

    assert "small is an alias of llama. Choose another name, or remove" in refused(
        "small"
    )
    assert "llama is a model already. Choose another name, or delete" in refused(
        "llama"
    )
    assert "old is an adapter already: change that one" in refused("old")
    assert "Letters, digits" in refused("two words")
    assert Adapter.objects.count() == 1


def test_an_adapter_cannot_be_on_top_of_an_adapter(console, worker):
    old = make_adapter("llama", "old")
    placed = make_placement(worker, "style", parent="llama").served_model

    for parent in (old, placed):
        refusal = problem(console.post(ADD, form(parent)), "parent")
        assert f"{parent} is itself an adapter. Choose the model" in refusal
        assert "on top of: llama" in refusal
    assert Adapter.objects.get() == old


def test_more_adapters_than_a_worker_can_tell_of_are_refused(console):
    llama = make_served_model("llama")
    for number in range(MAX_ADAPTERS):
        make_adapter(llama, f"adapter-number-{number}")

    refusal = problem(console.post(ADD, form(llama)), "parent")

    assert f"llama has {MAX_ADAPTERS} adapters" in refusal


@pytest.mark.parametrize("source", ["https://example.com/a", "/a\tb", ""])
def test_what_is_no_source_is_refused(console, source):
    answer = console.post(ADD, form(make_served_model("llama"), source=source))

    assert problem(answer, "source")
    assert not Adapter.objects.exists()


def test_disabling_and_deleting_take_the_wish_back(console, worker):
    llama = ServedModel.objects.get()
    sql, style = make_adapter(llama, "sql"), make_adapter(llama, "style")
    make_placement(worker, style.servedmodel_ptr, parent="llama")

    disabled = form(llama)
    del disabled["is_enabled"]
    console.post(change_url(sql), disabled)
    delete = reverse("admin:controller_adapter_delete", args=[style.pk])
    console.post(delete, {"post": "yes"})

    assert wished_of(worker) == []
    assert not Placement.objects.exclude(served_model=llama).exists()
    assert [adapter.name for adapter in Adapter.objects.all()] == ["sql"]


def test_a_name_stays_what_it_was(console, worker):
    sql = make_adapter("llama", "sql")

    console.post(change_url(sql), form(sql.parent, name="other", source="/new"))

    sql.refresh_from_db()
    assert (sql.name, sql.source) == ("sql", "/new")


def test_the_state_on_each_worker_is_shown(console, worker):
    sql = make_adapter("llama", "sql")
    reason = "<b>rank 64</b> is more than 8"
    says(worker, AdapterReport(name="sql", state=AdapterState.FAILED, reason=reason))
    make_worker("llama", takes_adapters=True)
    make_worker("llama", address="http://no-lora:1")
    make_worker("llama", left_at=now(), takes_adapters=True)

    listed = console.get(LIST).content.decode()
    page = console.get(change_url(sql)).content.decode()

    assert "1 failed, 1 wished, 1 worker takes no adapters" in listed
    assert f"{worker.address}: failed: &lt;b&gt;rank 64" in page
    assert "http://no-lora:1: worker takes no adapters" in page


def test_a_disabled_adapter_shows_who_still_has_it(console, worker):
    make_adapter("llama", "sql", is_enabled=False)
    assert "disabled" in console.get(LIST).content.decode()

    says(worker, AdapterReport(name="sql", state=AdapterState.UNLOADING))

    assert "1 unloading" in console.get(LIST).content.decode()


def test_the_models_page_says_what_an_adapter_is_of(console):
    make_adapter("llama", "sql")

    models = console.get(reverse("admin:controller_servedmodel_changelist"))

    parents = {
        str(row): models.context["cl"].model_admin.parent(row)
        for row in models.context["cl"].result_list
    }
    assert parents == {"llama": "-", "sql": "llama"}


def test_who_may_only_look_changes_no_adapter(client, worker):
    looker = make_user(is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_adapter"))
    client.force_login(looker)
    sql = make_adapter("llama", "sql")

    assert client.get(change_url(sql)).status_code == 200
    assert client.post(change_url(sql), form(sql.parent)).status_code == 403
    assert client.post(ADD, form(sql.parent)).status_code == 403
