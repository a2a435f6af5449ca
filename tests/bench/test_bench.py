"""The benchmark counts what came and refuses to call a broken answer a fast one."""

import asyncio

import pytest

from tests.bench.engines import Rate, ratio
from tests.bench.load import Load, LoadPlan, LoadResult, percentile
from tests.bench.report import markers, write_measured
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


def test_the_ratio_is_of_all_together_and_of_one_precision():
    def rate(dtype: str, num_clients: int, seconds: float) -> Rate:
        return Rate(
            dtype=dtype,
            num_clients=num_clients,
            num_tokens=10 * num_clients,
            seconds=seconds,
            cpu_seconds=seconds,
        )

    rates = [rate("float32", 1, 1), rate("float32", 16, 4), rate("bfloat16", 16, 99)]

    assert ratio(rates, "float32") == 4.0


def test_only_what_stands_between_the_markers_is_rewritten(tmp_path):
    document = tmp_path / "performance.md"
    begin, end = markers("gateway")
    other = "\n".join(markers("engines"))
    document.write_text(f"{other}\n{begin}\nold\n{end}\nbelow\n")

    write_measured("new\n", "gateway", document)

    assert document.read_text() == f"{other}\n{begin}\n\nnew\n\n{end}\nbelow\n"


def test_a_document_without_markers_is_left_alone(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text("no markers\n")

    with pytest.raises(ValueError, match="gateway: begin"):
        write_measured("new\n", "gateway", document)

    assert document.read_text() == "no markers\n"
