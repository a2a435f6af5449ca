"""Several processes as one: started in order, watched, stopped the other way round.

Each line that a process writes is shown with its name before it. One that ends is
started again with growing pauses; one that ends at once, and again, and again, stops
everything, because then something is wrong that a restart will not mend.

Built on asyncio. Of the Procfile runners, honcho ends all processes when one does, has
no order of stopping and kills after five seconds, which would cut drains off;
supervisord neither prefixes lines nor can be driven from a command of ours.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

QUICK_END_SECONDS = 10.0  # a process that lived shorter failed to start
MAX_QUICK_ENDS = 3
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_LINE_BYTES = 65536  # longer lines are shown in pieces
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Service:
    """A process that shall run; after SIGTERM it has `grace_seconds` to end."""

    name: str
    command: tuple[str, ...]
    grace_seconds: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)


class ServiceFailed(Exception):
    """A process that does not stay up, or a step that went wrong."""


class Supervisor:
    """Runs services until `stop`.

    `show(name, line)` gets what they write, and the supervisor's own words as `name`.
    """

    def __init__(self, show: Callable[[str, str], None], name: str) -> None:
        self.show = show
        self.name = name
        self._keepers: list[_Keeper] = []
        self._failure: asyncio.Future[None] = asyncio.Future()

    def start(self, service: Service) -> None:
        """Keep the service running from now on."""
        keeper = _Keeper(service, self.show, self._say)
        keeper.task = asyncio.create_task(keeper.keep(), name=service.name)
        keeper.task.add_done_callback(self._note_failure)
        self._keepers.append(keeper)

    async def run_once(self, service: Service) -> None:
        """Run a step to its end. Raises `ServiceFailed` if it does not end well."""
        step = _Keeper(service, self.show, self._say)
        self._keepers.append(step)
        try:
            status = await step.run()
        finally:
            await step.stop()
            self._keepers.remove(step)
        if status:
            raise ServiceFailed(f"{service.name} {_ending(status)}.")

    async def watch(self) -> None:
        """Never returns; raises `ServiceFailed` once a service does not stay up."""
        await self._failure

    async def stop(self) -> None:
        """End all, the last started first, each within its own grace."""
        for keeper in reversed(self._keepers):
            self._say(f"stopping {keeper.service.name}")
            await keeper.stop()

    def kill(self) -> None:
        """End all at once, without any grace."""
        for keeper in self._keepers:
            keeper.kill()

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not self._failure.done():
            self._failure.set_exception(failure)

    def _say(self, line: str) -> None:
        self.show(self.name, line)


class _Keeper:
    """One service, and the process that runs it at the moment."""

    def __init__(
        self,
        service: Service,
        show: Callable[[str, str], None],
        say: Callable[[str], None],
    ) -> None:
        self.service = service
        self.show = show
        self.say = say
        self.task: asyncio.Task[None] | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.is_stopping = False

    async def keep(self) -> None:
        """Run the process again and again; raises `ServiceFailed` if it is hopeless."""
        num_quick_ends = 0
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            status = await self.run()
            if self.is_stopping:
                return
            lived = time.monotonic() - started
            ending = f"{self.service.name} {_ending(status)} after {lived:.0f} s"
            if lived < QUICK_END_SECONDS:
                num_quick_ends += 1
            else:
                num_quick_ends, pause = 0, FIRST_PAUSE_SECONDS
            if num_quick_ends == MAX_QUICK_ENDS:
                raise ServiceFailed(
                    f"{ending}, {MAX_QUICK_ENDS} times in a row: its last lines above"
                    " say why."
                )
            self.say(f"{ending}; starting it again in {pause:.0f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def run(self) -> int:
        """Start the process and return its exit status, when all it wrote is shown."""
        self.process = await asyncio.create_subprocess_exec(
            *self.service.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.service.environment},
            # A session of its own: Ctrl-C in the terminal reaches only us, and we
            # decide who ends when.
            start_new_session=True,
            preexec_fn=_end_with_parent if _libc else None,
        )
        assert self.process.stdout is not None
        echo = asyncio.create_task(self._echo(self.process.stdout))
        status = await self.process.wait()
        _kill_group(self.process.pid)  # whatever it started and left behind
        # Something that left the group may hold the pipe for as long as it likes.
        await asyncio.wait([echo], timeout=1)
        echo.cancel()
        return status

    async def _echo(self, output: asyncio.StreamReader) -> None:
        pending = b""
        while chunk := await output.read(LONGEST_LINE_BYTES):
            *lines, pending = (pending + chunk).split(b"\n")
            if len(pending) >= LONGEST_LINE_BYTES:
                lines, pending = [*lines, pending], b""
            for line in lines:
                self._show(line)
        if pending:
            self._show(pending)

    def _show(self, line: bytes) -> None:
        # A progress bar overwrites itself: only its last state is a line.
        text = line.decode(errors="replace").rstrip("\r\n").rpartition("\r")[2]
        self.show(self.service.name, text)

    async def stop(self) -> None:
        """Ask the process to end; after its grace, kill it and what it started."""
        self.is_stopping = True
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(self.service.grace_seconds):
                    await self.process.wait()
            except TimeoutError:
                self.say(f"{self.service.name} did not end in time: killing it")
                self.kill()
                await self.process.wait()
        if self.task is not None:
            # Its last lines are shown before it ends; a pause before a restart is cut.
            await asyncio.wait([self.task], timeout=1)
            self.task.cancel()

    def kill(self) -> None:
        self.is_stopping = True
        if self.process is not None and self.process.returncode is None:
            _kill_group(self.process.pid)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """In the child: be told to end if the supervisor is killed outright."""
    assert _libc is not None
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
