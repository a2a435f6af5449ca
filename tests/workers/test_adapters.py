"""The agent as a process, with an engine that takes adapters while it runs."""

from pathlib import Path

import pytest

from tests.workers.agents import StartWorker, call, control
from tests.workers.stub_controller import StubController
from workers.protocol import (
    AdapterReport,
    AdapterState,
    AdapterWish,
    HeartbeatAnswer,
    ModelOffer,
    Task,
)


def make_adapter(folder: Path) -> Path:
    """A folder that looks like one in which PEFT saved an adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    return folder


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "adapters/sql")


def wish(*adapters: tuple[str, Path | str]) -> HeartbeatAnswer:
    return HeartbeatAnswer(
        adapters=[
            AdapterWish(name=name, parent="tiny", source=str(source))
            for name, source in adapters
        ]
    )


def offered(controller: StubController) -> list[str]:
    """The models of the last join."""
    return [offer.name for offer in controller.joins[-1][1].models]


def served(controller: StubController) -> list[str]:
    """The models that the last heartbeat names."""
    return [name for beat in controller.heartbeats[-1:] for name in beat.models]


def in_engine(controller: StubController) -> dict[str, str]:
    _, joined = controller.joins[-1]
    about = call(joined.address, "/version", joined.engine_key)
    return dict(about["adapters"])


def last_report(controller: StubController) -> AdapterReport | None:
    """Of the first adapter that the last heartbeat speaks of."""
    reports = [each for beat in controller.heartbeats[-1:] for each in beat.adapters]
    return reports[0] if reports else None


async def reported(controller: StubController, state: AdapterState) -> AdapterReport:
    """The first report with that state from now on."""

    def is_so() -> bool:
        report = last_report(controller)
        return report is not None and report.state == state

    await controller.until(is_so)
    report = last_report(controller)
    assert report is not None
    return report


async def test_a_wished_adapter_is_loaded_and_then_offered_with_its_parent(
    controller: StubController, start_worker: StartWorker, sql: Path
) -> None:
    controller.wishes = wish(("sql", sql))

    await start_worker("--enable-lora")
    await reported(controller, AdapterState.LOADED)

    first, second = (joined for _, joined in controller.joins)
    assert [offer.name for offer in first.models] == ["tiny"]
    assert second.models[1] == ModelOffer(
        name="sql", tasks=[Task.COMPLETIONS], context_length=512, parent="tiny"
    )
    assert second.takes_adapters
    assert first.start_id == second.start_id
    assert in_engine(controller) == {"sql": str(sql)}
    assert controller.heartbeats[-1].models == ["tiny", "sql"]


async def test_an_adapter_is_offered_no_more_before_it_is_unloaded(
    controller: StubController, start_worker: StartWorker, sql: Path
) -> None:
    controller.wishes = wish(("sql", sql))
    worker = await start_worker("--enable-lora")
    await reported(controller, AdapterState.LOADED)
    controller.on_join = lambda: seen.append(in_engine(controller))
    seen: list[dict[str, str]] = []

    controller.wishes = wish()
    await worker.says("The adapter sql is unloaded")

    assert seen == [{"sql": str(sql)}]
    assert offered(controller) == ["tiny"]
    assert in_engine(controller) == {}
    await controller.until(lambda: last_report(controller) is None)


async def test_a_changed_source_is_loaded_anew(
    controller: StubController, start_worker: StartWorker, sql: Path, tmp_path: Path
) -> None:
    controller.wishes = wish(("sql", sql))
    await start_worker("--enable-lora")
    await reported(controller, AdapterState.LOADED)

    other = make_adapter(tmp_path / "adapters/sql-2")
    controller.wishes = wish(("sql", other))
    await reported(controller, AdapterState.UNLOADING)
    await reported(controller, AdapterState.LOADED)

    assert in_engine(controller) == {"sql": str(other)}


async def test_why_an_adapter_cannot_be_loaded_is_told_and_the_others_are(
    controller: StubController, start_worker: StartWorker, sql: Path, tmp_path: Path
) -> None:
    broken = make_adapter(tmp_path / "adapters/broken")
    (broken / "broken").touch()
    missing = tmp_path / "missing"
    controller.wishes = wish(("broken", broken), ("missing", missing), ("sql", sql))

    await start_worker("--enable-lora")
    await controller.until(lambda: "sql" in served(controller))

    reports = {each.name: each for each in controller.heartbeats[-1].adapters}
    assert reports["broken"].reason == "broken has rank 64, more than 8."
    assert f"{missing} has no adapter_config.json" in reports["missing"].reason
    assert reports["broken"].state == reports["missing"].state == AdapterState.FAILED
    assert reports["sql"].state == AdapterState.LOADED
    assert offered(controller) == ["tiny", "sql"]


async def test_another_source_is_tried_at_once_after_a_failure(
    controller: StubController, start_worker: StartWorker, sql: Path, tmp_path: Path
) -> None:
    controller.wishes = wish(("sql", tmp_path / "mistyped"))
    await start_worker("--enable-lora")
    await reported(controller, AdapterState.FAILED)
    seen = len(controller.heartbeats)

    controller.wishes = wish(("sql", sql))
    await reported(controller, AdapterState.LOADED)

    assert len(controller.heartbeats) < seen + 20  # at 0.1 s, so less than the backoff


async def test_an_engine_that_is_started_again_gets_its_adapters_again(
    controller: StubController, start_worker: StartWorker, sql: Path
) -> None:
    controller.wishes = wish(("sql", sql))
    await start_worker("--enable-lora")
    await reported(controller, AdapterState.LOADED)
    before = controller.joins[-1][1].start_id

    control(controller, "/crash")
    await controller.until(lambda: controller.joins[-1][1].start_id != before)
    await controller.until(lambda: "sql" in served(controller))

    assert in_engine(controller) == {"sql": str(sql)}
    assert offered(controller) == ["tiny", "sql"]


async def test_adapters_stay_while_the_controller_is_away(
    start_worker: StartWorker, sql: Path
) -> None:
    controller = StubController(wishes=wish(("sql", sql)))
    async with controller.running():
        worker = await start_worker(
            "--enable-lora", "--controller-address", controller.url
        )
        await reported(controller, AdapterState.LOADED)
        num_joins = len(controller.joins)

    await worker.says("The controller does not hear us")
    assert in_engine(controller) == {"sql": str(sql)}
    async with controller.running():
        seen = len(controller.heartbeats)
        await controller.until(lambda: len(controller.heartbeats) > seen)

    report = last_report(controller)
    assert report is not None
    assert report.state == AdapterState.LOADED
    assert len(controller.joins) == num_joins


async def test_a_controller_that_says_nothing_of_adapters_takes_none_away(
    controller: StubController, start_worker: StartWorker, sql: Path
) -> None:
    controller.wishes = wish(("sql", sql))
    await start_worker("--enable-lora")
    await reported(controller, AdapterState.LOADED)

    controller.wishes = HeartbeatAnswer()  # an older one, say
    seen = len(controller.heartbeats)
    await controller.until(lambda: len(controller.heartbeats) > seen + 5)

    assert in_engine(controller) == {"sql": str(sql)}


async def test_a_worker_without_lora_loads_nothing_whatever_is_wished(
    controller: StubController, start_worker: StartWorker, sql: Path
) -> None:
    controller.wishes = wish(("sql", sql))

    await start_worker()
    await controller.until(lambda: len(controller.heartbeats) > 5)

    assert not controller.joins[0][1].takes_adapters
    assert offered(controller) == ["tiny"]
    assert in_engine(controller) == {}
    assert not any(beat.adapters for beat in controller.heartbeats)


async def test_nothing_is_loaded_from_outside_of_the_adapters_root(
    controller: StubController, start_worker: StartWorker, sql: Path, tmp_path: Path
) -> None:
    outside = make_adapter(tmp_path / "elsewhere")
    controller.wishes = wish(("sql", outside))
    await start_worker("--enable-lora", "--adapter-root", str(sql.parent))

    failed = await reported(controller, AdapterState.FAILED)
    controller.wishes = wish(("sql", "sql"))
    await reported(controller, AdapterState.LOADED)

    assert f"{outside} lies outside of {sql.parent}" in failed.reason
    assert in_engine(controller) == {"sql": str(sql)}


async def test_adapters_of_the_command_line_are_offered_and_never_unloaded(
    controller: StubController, start_worker: StartWorker, sql: Path
) -> None:
    controller.wishes = wish(("sql", sql))

    await start_worker("--enable-lora", "--lora-modules", "sql=/given,style=/given")
    await reported(controller, AdapterState.LOADED)
    controller.wishes = wish()
    await controller.until(lambda: last_report(controller) is None)

    assert [joined.models[1].parent for _, joined in controller.joins] == ["tiny"]
    assert offered(controller) == ["tiny", "sql", "style"]
    assert in_engine(controller) == {"sql": "/given", "style": "/given"}


async def test_a_refused_adapter_does_not_cost_the_worker_its_place(
    controller: StubController, start_worker: StartWorker, sql: Path
) -> None:
    controller.taken_names = {"sql"}
    controller.wishes = wish(("sql", sql))
    worker = await start_worker("--enable-lora")
    await worker.says("What has changed is not told yet: sql is taken")

    refused = await reported(controller, AdapterState.FAILED)
    assert refused.reason.startswith("sql is taken")
    assert controller.heartbeats[-1].state == "ready"
    controller.taken_names = set()
    await reported(controller, AdapterState.LOADED)

    assert controller.heartbeats[-1].models == ["tiny", "sql"]
