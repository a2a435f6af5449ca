"""Where an adapter is taken from, and where it is not."""

from pathlib import Path

import pytest

from tests.workers.test_adapters import make_adapter
from workers.adapter_sources import AdapterRefused, AdapterSources


async def refusal(sources: AdapterSources, source: str) -> str:
    with pytest.raises(AdapterRefused) as refused:
        await sources.find(source)
    return str(refused.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    make_adapter(folder / "sql")
    make_adapter(tmp_path / "secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    return folder


async def test_a_folder_in_the_root_is_named_from_there_or_in_full(root: Path) -> None:
    sources = AdapterSources(root=root)

    assert await sources.find("sql") == root / "sql"
    assert await sources.find(str(root / "sql")) == root / "sql"


@pytest.mark.parametrize("source", ["../secret", "sql/../../secret", "link", "/etc"])
async def test_nothing_outside_of_the_root_is_taken(root: Path, source: str) -> None:
    reason = await refusal(AdapterSources(root=root), source)

    assert f"{source} lies outside of {root}" in reason


@pytest.mark.parametrize("source", ["no-such-adapter", "someone/adapter", "loop"])
async def test_what_is_not_in_the_root_is_not_sought_elsewhere(
    root: Path, source: str
) -> None:
    sources = AdapterSources(root=root, python="/no/python/may/run")

    assert source in await refusal(sources, source)


async def test_without_a_root_any_folder_is_taken(root: Path) -> None:
    sources = AdapterSources()

    assert await sources.find(str(root / "sql")) == root / "sql"
    reason = await refusal(sources, str(root))
    assert f"{root} has no adapter_config.json" in reason


async def test_a_name_on_the_hub_is_fetched_by_the_engines_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hub's library keeps it, which then needs no network."""
    kept = tmp_path / "models--someone--sql"
    make_adapter(kept / "snapshots/abc123")
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text("abc123")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sources = AdapterSources()

    assert await sources.find("someone/sql") == kept / "snapshots/abc123"
    reason = await refusal(sources, "someone/else")
    assert reason.startswith("someone/else is no folder on the worker's machine, and")
    assert "\n" not in reason


async def test_a_fetch_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr("workers.adapter_sources.FETCH_SECONDS", 0.1)

    reason = await refusal(AdapterSources(python=str(slow)), "someone/sql")

    assert "was not fetched from the model hub within" in reason
