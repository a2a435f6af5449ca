"""The inference engine as a child process that never outlives its agent."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workers.engine_guard import KEY_VARIABLE
from workers.engine_output import EngineOutput
from workers.state import cannot_write

PR_SET_PDEATHSIG = 1  # linux/prctl.h
KILL_AFTER_SECONDS = 8.0
USAGE_ERROR = 2
# The agent's own secrets, which are none of the engine's business.
WITHHELD_VARIABLES = ("SWITCHYARD_JOIN_TOKEN",)


@dataclass(frozen=True, kw_only=True)
class EngineCommand:
    """How to start an engine: the command line, and what to add to the environment."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class EngineProcess:
    """One run of an engine. Its output goes where ours goes."""

    def __init__(
        self, process: asyncio.subprocess.Process, output: EngineOutput
    ) -> None:
        self._process = process
        self._output = output

    @property
    def loading_progress(self) -> float | None:
        """Share of the weights that are loaded, 0 to 1, as far as the engine says."""
        return self._output.progress

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def refused_its_flags(self) -> bool:
        """Whether it ended at once because of its command line, as argparse does."""
        return self._process.returncode == USAGE_ERROR

    async def wait(self) -> str:
        """Wait until the engine ends; return how it did, for the log."""
        status = await self._process.wait()
        self.kill()  # what the engine itself started must not live on: vLLM's core
        await self._output.last_lines()
        if status == -signal.SIGKILL:
            return "was ended by SIGKILL, as the kernel does where memory runs out"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    async def stop(self) -> None:
        """Ask the engine to end, and make it end after eight seconds."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), KILL_AFTER_SECONDS)
        except TimeoutError:
            pass
        finally:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End the engine, and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


async def start_engine(command: EngineCommand, key: str) -> EngineProcess:
    """Start the engine with its key in the environment; OSError if it cannot start.

    It leads a process group of its own: Ctrl-C at a terminal reaches the agent alone,
    which then lets the engine finish what is in flight.
    """
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",  # it writes to a pipe, and what it says should show
        **command.environment,
        KEY_VARIABLE: key,
    }
    for name in WITHHELD_VARIABLES:
        environment.pop(name, None)
    arguments, before_exec = _tied_to_us(command.arguments)
    # The tether watches this pipe; an engine under prctl has nothing to read.
    stdin = asyncio.subprocess.DEVNULL if before_exec else asyncio.subprocess.PIPE
    output = EngineOutput()
    await output.open()
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            env=environment,
            stdin=stdin,
            stdout=output.stdout,
            stderr=output.stderr,
            start_new_session=True,
            preexec_fn=before_exec,
        )
    finally:
        output.close_our_end()
    return EngineProcess(process, output)


def _tied_to_us(
    arguments: Sequence[str],
) -> tuple[Sequence[str], Callable[[], None] | None]:
    """Return the command line, and what the child runs first, to make it die with us.

    Linux has a signal for it. Elsewhere a small parent between us, `workers.tether`,
    notices that our end of its standard input closed.
    """
    if not sys.platform.startswith("linux"):
        return (sys.executable, "-m", "workers.tether", *arguments), None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    our_pid = os.getpid()

    def ask_for_signal() -> None:
        # SIGTERM, on which vLLM also ends its engine core; SIGKILL would orphan that.
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != our_pid:  # we died before the child could ask
            os._exit(1)

    return arguments, ask_for_signal


def import_folder(inside: Path) -> Path:
    """Return a folder from which an engine can import `workers` and nothing else.

    Our own root on the path of vLLM's environment would shadow its modules, were we
    installed beside another torch; so the folder holds a link to our package alone.
    """
    folder = inside / "import"
    link = folder / "workers"
    try:
        folder.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(Path(__file__).resolve().parent, target_is_directory=True)
    except OSError as error:
        raise cannot_write(inside, error) from error
    return folder
