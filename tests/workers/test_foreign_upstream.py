"""Which upstreams are foreign, and where the providers' clients find them."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.workers.agents import ROOT, call
from tests.workers.fake_providers import FakeGemini, running
from tests.workers.stub_controller import StubController
from workers import foreign_upstream
from workers.endpoints import Endpoint, split_provider
from workers.errors import BadSetting
from workers.foreign_upstream import check_foreign
from workers.protocol import HeartbeatAnswer
from workers.upstream_api import api_at


@pytest.mark.parametrize(
    ("upstream", "api"),
    [
        ("https://api.anthropic.com", "anthropic"),
        ("api.anthropic.com/v1", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta", "gemini"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("http://anthropic.lan:8080", "openai"),
        ("gpu-3:30000", "openai"),
    ],
)
def test_an_address_tells_its_api_only_where_it_is_a_providers(
    upstream: str, api: str
) -> None:
    assert api_at(upstream) == api
    assert Endpoint(name="it", upstream=upstream).speaks == api


@pytest.mark.parametrize(
    ("upstream", "address", "version"),
    [
        ("api.anthropic.com/v1", "https://api.anthropic.com", "v1"),
        ("https://host/v1/messages", "https://host", "v1"),
        ("http://proxy.lan:80/claude", "http://proxy.lan:80/claude", ""),
        ("https://host/g/v1beta", "https://host/g", "v1beta"),
    ],
)
def test_the_version_is_parted_from_a_providers_address(
    upstream: str, address: str, version: str
) -> None:
    assert split_provider(upstream) == (address, version)


def test_a_library_that_is_missing_is_said_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint = Endpoint(name="it", upstream="https://api.anthropic.com", key="k")
    check_foreign(endpoint)
    monkeypatch.setattr(foreign_upstream, "LIBRARIES", ("no_such_package.part",))

    with pytest.raises(BadSetting, match=r"pip install '\.\[providers\]'"):
        check_foreign(endpoint)


async def test_the_engines_key_changes_at_the_operators_wish(
    controller: StubController, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("good")
    (tmp_path / "key").write_text(FakeGemini.first_key)
    with running(FakeGemini()) as provider:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.api_worker", "--state-dir", "state"),
            *("--controller-address", controller.url),
            *("--join-token-file", "token", "--upstream-key-file", "key"),
            *("--upstream", provider.url, "--upstream-api", provider.api),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            await controller.until(lambda: bool(controller.heartbeats))
            controller.wishes = HeartbeatAnswer(rotate_key=True)
            await controller.until(lambda: len(keys_of(controller)) == 2)
            controller.wishes = HeartbeatAnswer()
            (_, old), (_, new) = controller.joins[0], controller.joins[-1]

            for joined in (old, new):  # for a while, of requests under way
                assert call(new.address, "/version", joined.engine_key)
        finally:
            worker.kill()
            await worker.wait()


def keys_of(controller: StubController) -> set[str]:
    return {joined.engine_key for _, joined in controller.joins}
