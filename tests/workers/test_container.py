from pathlib import Path

import pytest

from workers import container, cpu

GIB = 2**30


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a control group within another, both without limits."""
    monkeypatch.setattr(container, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(container, "OWN_CGROUP", tmp_path / "own")
    (tmp_path / "own").write_text("1:name=systemd:/\n0::/pods/one\n")
    folder = tmp_path / "cgroup/pods/one"
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text("max 100000\n")
    (folder / "memory.max").write_text("max\n")
    return folder


def test_without_a_limit_the_machine_is_ours(pod: Path) -> None:
    assert container.cpu_limit() is None
    assert container.available_memory() > 0


def test_the_tightest_limit_of_all_groups_above_counts(pod: Path) -> None:
    (pod / "cpu.max").write_text("400000 100000\n")
    (pod.parent / "cpu.max").write_text("150000 100000\n")

    assert container.cpu_limit() == 1.5


def test_files_cache_is_memory_that_can_be_had(pod: Path) -> None:
    (pod / "memory.max").write_text(str(GIB // 8))
    (pod / "memory.current").write_text(str(GIB // 8))
    (pod / "memory.stat").write_text(f"anon 1\ninactive_file {GIB // 16}\n")

    assert container.available_memory() == GIB // 16


def test_no_more_threads_compute_than_there_is_time_for(
    pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "usable_cpus", lambda: [*range(8)])
    assert cpu.num_threads() == 8

    (pod / "cpu.max").write_text("250000 100000")
    assert cpu.num_threads() == 2
    (pod / "cpu.max").write_text("20000 100000")
    assert cpu.num_threads() == 1


def test_where_there_are_no_control_groups_nothing_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "OWN_CGROUP", tmp_path / "none")

    assert container.cpu_limit() is None
