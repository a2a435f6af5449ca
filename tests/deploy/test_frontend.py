"""`deploy/frontend.py` serves what the lock file names, or says what to do."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from deploy import frontend
from deploy.environment import SetupFailed

LOCK = json.loads((frontend.FRONTEND / "package-lock.json").read_text())


def test_every_package_has_a_checksum_and_no_registry_is_named() -> None:
    packages = {path: facts for path, facts in LOCK["packages"].items() if path}

    assert [path for path in packages if "integrity" not in packages[path]] == []
    assert [path for path in packages if "resolved" in packages[path]] == []


def test_versions_are_exact() -> None:
    asked = json.loads((frontend.FRONTEND / "package.json").read_text())

    versions = asked["dependencies"] | asked["devDependencies"]

    assert {
        name for name, v in versions.items() if not re.fullmatch(r"[\d.]+", v)
    } == set()
    assert {part.package for part in frontend.PARTS} == set(asked["dependencies"])


def test_what_is_served_is_what_npm_brought_with_its_licence() -> None:
    for part in frontend.PARTS:
        served = {target.name: target for target in part.copies().values()}

        assert all(target.is_file() for target in served.values())
        assert any(name.startswith("LICENSE") for name in served)
    katex = frontend.CHAT / "katex" / "katex.min.js"
    brought = frontend.PACKAGES / "katex" / "dist" / "katex.min.js"
    assert katex.read_bytes() == brought.read_bytes()


def test_only_the_last_lines_pointer_to_a_map_is_taken_off() -> None:
    pointer = b"\n//# sourceMappingURL="

    assert frontend.without_source_map(b"a();" + pointer + b"a.map\n") == b"a();\n"
    inside = b"a();" + pointer + b"a.map\nb();\n"
    assert frontend.without_source_map(inside) == inside


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which everything is there; npm would fail."""
    packages = tmp_path / "node_modules"
    packages.mkdir()
    (tmp_path / "package-lock.json").write_text("{}")
    (tmp_path / "marked.js").touch()
    for name, path in {
        "ROOT": tmp_path,
        "FRONTEND": tmp_path,
        "PACKAGES": packages,
        "STAMP": packages / "switchyard.json",
    }.items():
        monkeypatch.setattr(frontend, name, path)
    monkeypatch.setattr(frontend, "fetch", fail)
    leave_stamp(is_dev=False)
    return tmp_path


def leave_stamp(is_dev: bool) -> None:
    stamp = {"is_dev": is_dev, "served": ["marked.js"]}
    frontend.STAMP.write_text(
        json.dumps({"fingerprint": frontend.fingerprint(), **stamp})
    )


def fail(is_dev: bool) -> None:
    raise SetupFailed(f"npm was asked, {is_dev=}")


def test_what_is_complete_is_left_alone(built: Path) -> None:
    frontend.main([])


def test_the_checkers_stay_once_they_were_asked_for(built: Path) -> None:
    with pytest.raises(SetupFailed, match="is_dev=True"):
        frontend.main(["--dev"])

    leave_stamp(is_dev=True)
    frontend.main([])


def test_another_lock_file_is_a_reason_to_fetch(built: Path) -> None:
    (built / "package-lock.json").write_text("{ }")

    with pytest.raises(SetupFailed, match="is_dev=False"):
        frontend.main([])
    assert not frontend.STAMP.exists()


def test_a_file_that_was_lost_is_served_again_without_npm(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = frontend.PACKAGES / "marked" / "lib"
    package.mkdir(parents=True)
    (package / "marked.js").write_text("marked();\n//# sourceMappingURL=marked.js.map")
    part = frontend.Part("marked", built, ("marked.js",), base="lib")
    monkeypatch.setattr(frontend, "PARTS", (part,))
    (built / "marked.js").unlink()

    frontend.main([])

    assert (built / "marked.js").read_text() == "marked();\n"


def test_a_registry_out_of_reach_is_named_as_the_cause(tmp_path: Path) -> None:
    for path in ("deploy", "chat/frontend"):
        wanted = shutil.ignore_patterns("node_modules*", "__pycache__")
        shutil.copytree(settings.BASE_DIR / path, tmp_path / path, ignore=wanted)
    nobody_listens = {
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_fetch_retries": "0",
        "npm_config_cache": str(tmp_path / "cache"),
    }

    done = subprocess.run(
        [sys.executable, "-m", "deploy.frontend"],
        cwd=tmp_path,
        env={**os.environ, **nobody_listens},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("npm's registry cannot be reached: check the network")
    assert "npm_config_registry" in line
    assert not (tmp_path / "chat/static").exists()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("ECONNREFUSED", "check the network"),
        ("ENOTFOUND", "npm_config_registry"),
        ("SELF_SIGNED_CERT_IN_CHAIN", "NODE_EXTRA_CA_CERTS"),
        ("E404", "npm_config_registry"),
        ("EINTEGRITY", "nothing of it is used"),
        ("EUSAGE", "README.md"),
        ("ENOSPC", "make room"),
    ],
)
def test_each_complaint_of_npm_becomes_one_line(code: str, advice: str) -> None:
    output = f"npm warn x\nnpm error code {code}\nnpm error errno 1\nnpm error Why.\n"

    said = str(frontend.failure(output))

    assert advice in said
    assert said.endswith("npm says: Why.")
    assert "\n" not in said
