"""The benchmark counts what came and refuses to call a broken answer a fast one."""

import asyncio

import pytest

from tests.bench.load import Load, LoadPlan, LoadResult, percentile
from tests.bench.report import BEGIN, END, write_measured
from tests.mock_engine import MockEngine, running_mock_engine


def run_load(engine: MockEngine, shape: str, connections: int = 4) -> LoadResult:
    plan = LoadPlan(
        host="127.0.0.1",
        port=engine.port,
        key=engine.config.key,
        model=engine.config.models[0],
        shape=shape,
        connections=connections,
        seconds=0.3,
        warmup_seconds=0.05,
    )
    return asyncio.run(Load(plan).run())


def test_a_burst_counts_every_event_of_every_stream():
    with running_mock_engine() as engine:
        result = run_load(engine, "burst")

    assert result.errors == {}
    assert result.requests > 0
    assert result.events == result.requests * 67  # 64 tokens, role, finish, [DONE]


def test_a_paced_run_waits_for_each_stream_once():
    with running_mock_engine() as engine:
        result = run_load(engine, "paced", connections=10)
        totals = engine.totals()

    assert result.errors == {}
    assert result.requests == totals.ended == 10
    assert result.behind_p50_ms >= 0


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"error_after": 5}, "wrong number of events"),
        ({"cut_after": 5}, "connection lost"),
        ({"status": 503}, "status 503"),
    ],
)
def test_a_faulty_answer_is_an_error_and_not_a_request(fault, error):
    with running_mock_engine(**fault) as engine:
        result = run_load(engine, "burst")

    assert result.requests == 0
    assert set(result.errors) == {error}


def test_percentiles_are_values_that_were_seen():
    values = [float(value) for value in range(200, 0, -1)]

    assert percentile(values, 50) == 100
    assert percentile(values, 99) == 198
    assert percentile([], 50) == 0


def test_only_what_stands_between_the_markers_is_rewritten(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")

    write_measured("new\n", document)

    assert document.read_text() == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"


def test_a_document_without_markers_is_left_alone(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text("no markers\n")

    with pytest.raises(ValueError, match="measured: begin"):
        write_measured("new\n", document)

    assert document.read_text() == "no markers\n"
