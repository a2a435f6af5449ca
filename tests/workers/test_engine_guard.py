import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from workers import engine_guard
from workers.engine_guard import AcceptedKeys, RequireKey
from workers.protocol import INFERENCE_PATHS
from workers.state import StateDir


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> RequireKey:
    monkeypatch.setenv("SWITCHYARD_ENGINE_KEY", "right")

    async def engine(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"tokens"})

    return RequireKey(engine)


async def call(
    app: RequireKey, path: str, *authorization: str, kind: str = "http"
) -> list[Any]:
    sent: list[Any] = []
    headers = [(b"authorization", value.encode()) for value in authorization]

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": kind, "path": path, "headers": headers}, receive, send)
    return sent


@pytest.mark.parametrize("path", [*INFERENCE_PATHS, "/metrics", "/v1/models", "/docs"])
async def test_every_path_refuses_without_the_key(
    guarded: RequireKey, path: str
) -> None:
    for authorization in ((), ("Bearer wrong",), ("Bearer ",), ("right",)):
        start, body = await call(guarded, path, *authorization)

        assert start["status"] == 401
        assert b"invalid_api_key" in body["body"]


async def test_the_right_key_passes(guarded: RequireKey) -> None:
    start, _ = await call(guarded, "/invocations", "Bearer right")

    assert start["status"] == 200


async def test_two_keys_are_refused_even_if_one_is_right(guarded: RequireKey) -> None:
    start, _ = await call(guarded, "/invocations", "Bearer right", "Bearer wrong")

    assert start["status"] == 401


async def test_health_is_open(guarded: RequireKey) -> None:
    start, _ = await call(guarded, "/health")

    assert start["status"] == 200


async def test_a_websocket_is_refused_even_with_the_key(guarded: RequireKey) -> None:
    sent = await call(guarded, "/v1/realtime", "Bearer right", kind="websocket")

    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_an_engine_without_a_key_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SWITCHYARD_ENGINE_KEY", raising=False)

    with pytest.raises(RuntimeError, match="SWITCHYARD_ENGINE_KEY"):
        RequireKey(lambda *_: None)  # type: ignore[arg-type, return-value]


def test_the_guard_imports_only_the_standard_library() -> None:
    tree = ast.parse(Path(engine_guard.__file__).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] in sys.stdlib_module_names
        elif isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names


async def test_keys_in_a_file_can_change_while_the_engine_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_ENGINE_KEY", "first")
    monkeypatch.setenv("SWITCHYARD_ENGINE_KEY_FILE", str(tmp_path / "engine_keys"))
    state_dir = StateDir(tmp_path)
    keys = AcceptedKeys()

    def good() -> set[str]:
        return {
            key for key in ("first", "new") if keys.include(f"Bearer {key}".encode())
        }

    assert good() == {"first"}
    state_dir.write_engine_keys(["new", "first"])
    assert good() == {"first", "new"}
    state_dir.write_engine_keys(["new"])
    assert good() == {"new"}
    (tmp_path / "engine_keys").unlink()
    assert good() == {"new"}
