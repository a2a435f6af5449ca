import asyncio
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import pytest

from controller.standalone import supervisor as module
from controller.standalone.supervisor import Service, ServiceFailed, Supervisor


@dataclass
class Screen:
    """What was shown, and a way to wait for it."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self.changed.set()

    async def until(self, name: str, seen: Callable[[str], bool]) -> str:
        async with asyncio.timeout(20):
            while True:
                for shown, line in self.lines:
                    if shown == name and seen(line):
                        return line
                self.changed.clear()
                await self.changed.wait()


def python(name: str, code: str, grace_seconds: float = 10) -> Service:
    return Service(name, (sys.executable, "-c", code), grace_seconds)


RUN_UNTIL_TOLD = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("up", flush=True)
signal.sigwait({signal.SIGTERM})
print("down")
"""
REFUSE_TO_END = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
print("child", child.pid, flush=True)
time.sleep(600)
"""


def up(line: str) -> bool:
    return line == "up"


async def test_the_last_started_ends_first() -> None:
    screen = Screen()
    both = Supervisor(screen.show, "run")
    for name in ("web", "worker"):
        both.start(python(name, RUN_UNTIL_TOLD))
        await screen.until(name, up)

    await both.stop()

    assert [name for name, line in screen.lines if line == "down"] == ["worker", "web"]


async def test_what_ignores_the_signal_is_killed_with_its_children() -> None:
    screen = Screen()
    stubborn = Supervisor(screen.show, "run")
    stubborn.start(python("worker", REFUSE_TO_END, grace_seconds=0.2))
    line = await screen.until("worker", lambda line: line.startswith("child"))
    child = psutil.Process(int(line.split()[1]))

    await stubborn.stop()

    await asyncio.to_thread(child.wait, timeout=10)
    assert ("run", "worker did not end in time: killing it") in screen.lines


async def test_a_killed_process_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    screen = Screen()
    one = Supervisor(screen.show, "run")
    one.start(python("web", f"import os; print('pid', os.getpid());{RUN_UNTIL_TOLD}"))
    first = await screen.until("web", lambda line: line.startswith("pid"))

    psutil.Process(int(first.split()[1])).send_signal(signal.SIGKILL)

    second = await screen.until(
        "web", lambda line: line.startswith("pid") and line != first
    )
    assert second
    assert "web was ended by SIGKILL" in await screen.until(
        "run", lambda line: "starting it again" in line
    )
    await one.stop()


async def test_one_that_ends_at_once_each_time_stops_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    screen = Screen()
    hopeless = Supervisor(screen.show, "run")
    hopeless.start(python("web", "raise SystemExit('no such setting')"))

    with pytest.raises(ServiceFailed, match=r"web ended with status 1 .* 3 times"):
        await asyncio.wait_for(hopeless.watch(), timeout=20)

    assert screen.lines.count(("web", "no such setting")) == 3


async def test_a_step_that_fails_says_so_after_its_last_words() -> None:
    screen = Screen()

    with pytest.raises(ServiceFailed, match="model ended with status 3"):
        await Supervisor(screen.show, "run").run_once(
            python("model", "print('no weights'); raise SystemExit(3)")
        )

    assert screen.lines == [("model", "no weights")]


async def test_progress_bars_show_their_last_state_and_long_lines_come_in_pieces() -> (
    None
):
    screen = Screen()
    code = "print('10%\\r90%\\r100%'); print('x' * 200_000)"

    await Supervisor(screen.show, "run").run_once(python("model", code))

    assert screen.lines[0] == ("model", "100%")
    assert "".join(line for _name, line in screen.lines[1:]) == "x" * 200_000


async def test_services_end_when_the_supervisor_is_killed() -> None:
    code = f"""
import asyncio
from controller.standalone.supervisor import Service, Supervisor
async def main():
    one = Supervisor(lambda name, line: print(line, flush=True), "run")
    one.start(Service("web", ({sys.executable!r}, "-c", "import os, time;"
        "print(os.getpid(), flush=True); time.sleep(600)")))
    await one.watch()
asyncio.run(main())
"""
    outer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert outer.stdout is not None
    inner = psutil.Process(int(await outer.stdout.readline()))

    outer.kill()

    await outer.wait()
    await asyncio.to_thread(inner.wait, timeout=10)


async def test_a_step_under_way_ends_at_once_when_all_are_killed() -> None:
    screen = Screen()
    busy = Supervisor(screen.show, "run")
    step = asyncio.create_task(busy.run_once(python("model", REFUSE_TO_END, 600)))
    line = await screen.until("model", lambda line: line.startswith("child"))
    child = psutil.Process(int(line.split()[1]))

    step.cancel()
    busy.kill()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(step, timeout=20)
    await asyncio.to_thread(child.wait, timeout=10)
