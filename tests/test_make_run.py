"""From `git clone` to the first answer, as a newcomer does it: one command."""

import contextlib
import json
import os
import queue
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from django.conf import settings
from openai import OpenAI

from tests.servers import free_port

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1500)]
READY = "Ctrl-C stops everything."


@dataclass
class Started:
    """A running `make run`; its output is collected while it runs."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)
    arrivals: "queue.SimpleQueue[str | None]" = field(default_factory=queue.SimpleQueue)

    def collect(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self.arrivals.put(self.lines[-1])
        self.arrivals.put(None)

    def wait_until_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                line = self.arrivals.get(timeout=left)
                assert line is not None, "make run ended:\n" + self.output(40)
                if READY in line:
                    return
        pytest.fail(f"Not ready after {seconds:.0f} s:\n" + self.output(40))

    def output(self, num_lines: int) -> str:
        return "\n".join(self.lines[-num_lines:])

    @property
    def credentials(self) -> dict[str, str]:
        return json.loads((self.folder / "var" / "credentials.json").read_text())

    def client(self) -> OpenAI:
        known = self.credentials
        return OpenAI(base_url=known["api_base"], api_key=known["api_key"])

    def press_ctrl_c(self) -> None:
        """The terminal signals the whole foreground group, make included."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=120)


@contextlib.contextmanager
def make_run(folder: Path, home: Path) -> Iterator[Started]:
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PORT": str(free_port()),
        "PIP_CACHE_DIR": pip_cache(),
        "npm_config_cache": str(Path.home() / ".npm"),
        "npm_config_userconfig": str(Path.home() / ".npmrc"),
        **{name: value for name, value in os.environ.items() if is_registrys(name)},
    }
    process = subprocess.Popen(
        ["make", "run"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    started = Started(process, folder)
    collector = threading.Thread(target=started.collect)
    collector.start()
    try:
        yield started
    finally:
        if process.poll() is None:
            started.press_ctrl_c()
        collector.join(timeout=10)
        assert process.stdout is not None
        process.stdout.close()


def is_registrys(name: str) -> bool:
    """Whether this variable says where pip and npm find packages."""
    return name.startswith(("PIP_", "npm_config_", "NODE_EXTRA_"))


def pip_cache() -> str:
    """pip's own cache: the environment is new, what it downloads need not be."""
    pip = [sys.executable, "-m", "pip", "cache", "dir"]
    return subprocess.run(pip, capture_output=True, text=True).stdout.strip()


def processes_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    # Removed at once, not kept like tmp_path: it holds an environment of 1.5 GB.
    with tempfile.TemporaryDirectory(prefix="switchyard-clone-") as folder:
        (Path(folder) / "home").mkdir()
        target = Path(folder).resolve() / "switchyard"
        subprocess.run(
            ["git", "clone", "--quiet", str(settings.BASE_DIR), str(target)], check=True
        )
        yield target


@pytest.fixture(scope="module")
def first_start(clone: Path) -> Iterator[Started]:
    with make_run(clone, clone.parent / "home") as started:
        started.wait_until_ready(seconds=1200)
        yield started


def test_the_first_start_answers_the_official_client(first_start: Started) -> None:
    model = first_start.credentials["model"]
    question = {"role": "user", "content": "What is the capital of France?"}

    answer = first_start.client().chat.completions.create(
        model=model, messages=[question], max_tokens=32, temperature=0
    )

    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_the_first_start_streams(first_start: Started) -> None:
    model = first_start.credentials["model"]
    question = {"role": "user", "content": "What is the capital of France?"}

    chunks = list(
        first_start.client().chat.completions.create(
            model=model, messages=[question], max_tokens=32, temperature=0, stream=True
        )
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "Paris" in text
    assert len(chunks) > 3


def test_what_it_prints_is_what_it_wrote_for_the_owner(first_start: Started) -> None:
    file = first_start.folder / "var" / "credentials.json"

    printed = first_start.output(40)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name in (
        "chat_url",
        "admin_url",
        "api_base",
        "username",
        "password",
        "api_key",
    ):
        assert first_start.credentials[name] in printed


@pytest.mark.parametrize("name", ["admin_url", "chat_url"])
def test_its_pages_lead_to_the_sign_in(first_start: Started, name: str) -> None:
    with urllib.request.urlopen(first_start.credentials[name]) as page:
        assert b'type="password"' in page.read()


def test_what_pages_load_from_others_is_there(first_start: Started) -> None:
    parser = "/static/chat/vendor/marked/marked.esm.js"

    with urllib.request.urlopen(first_start.credentials["base_url"] + parser) as script:
        assert script.headers["Content-Type"].startswith("text/javascript")


def test_a_second_one_in_the_same_folder_is_refused_in_one_line(
    first_start: Started,
) -> None:
    second = subprocess.run(
        [".venv/bin/python", "manage.py", "run", "--port", str(free_port())],
        cwd=first_start.folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert second.returncode == 1
    assert "in use by another `make run`" in second.stderr
    assert "Traceback" not in second.stderr


def test_ctrl_c_leaves_nothing_and_a_second_start_takes_seconds(
    first_start: Started, clone: Path
) -> None:
    first = first_start.credentials

    first_start.press_ctrl_c()
    left_over = processes_in(clone)
    started_at = time.monotonic()
    with make_run(clone, clone.parent / "home") as again:
        again.wait_until_ready(seconds=120)
        seconds = time.monotonic() - started_at
        second = again.credentials
        assert again.client().models.list().data[0].id == second["model"]

    assert left_over == []
    assert (second["password"], second["api_key"]) == (
        first["password"],
        first["api_key"],
    )
    assert second["base_url"] != first["base_url"]
    assert seconds < 100  # about ten on a quiet machine
