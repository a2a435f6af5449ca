"""Where the adapters of an engine come from: folders of this machine, or the model hub.

An operator names them in the console. A worker may be told to take none from outside of
one folder, whatever is named there.
"""

import asyncio
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from workers.engine_process import WITHHELD_VARIABLES

FETCH_SECONDS = 1800.0
# In the engine's environment, which has the hub's library; the agent's need not.
FETCH = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download(sys.argv[1], allow_patterns=["adapter_*"]))
"""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


class AdapterRefused(Exception):
    """The adapter is not loaded; the message names it and says what to do."""


@dataclass(frozen=True, kw_only=True)
class AdapterSources:
    """What an operator's words for an adapter mean on this machine.

    With a `root` it is a folder in there, and nothing else is taken.
    """

    root: Path | None = None
    python: str = sys.executable
    """Has huggingface_hub, for what is named as on the model hub."""

    async def find(self, source: str) -> Path:
        """Return the adapter's folder; raises AdapterRefused.

        A name on the hub is fetched first, by a process of its own: vLLM would do it
        too, but serve nobody meanwhile.
        """
        folder = await asyncio.to_thread(self._folder, source)
        if folder.exists() or self.root or not HUB_NAME.fullmatch(source):
            return _checked(folder)
        return _checked(await self._fetched(source))

    def _folder(self, source: str) -> Path:
        """Return where it lies, links followed, so that none leads out of the root."""
        base = self.root or Path()
        try:
            folder = (base / Path(source).expanduser()).resolve()
            is_inside = self.root is None or folder.is_relative_to(self.root.resolve())
        except (OSError, RuntimeError) as error:  # a loop of links, no such home
            raise AdapterRefused(f"{source} cannot be found: {error}.") from error
        if not is_inside:
            raise AdapterRefused(
                f"{source} lies outside of {self.root}, which this worker's"
                " --adapter-root confines adapters to. Name a folder in there."
            )
        return folder

    async def _fetched(self, name: str) -> Path:
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in WITHHELD_VARIABLES
        }
        process = await asyncio.create_subprocess_exec(
            *(self.python, "-c", FETCH, name),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                printed, complaints = await process.communicate()
        except TimeoutError as error:
            raise AdapterRefused(
                f"{name} was not fetched from the model hub within"
                f" {FETCH_SECONDS / 60:.0f} minutes. Fetch it with `hf download`."
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            last = complaints.decode(errors="replace").strip().rpartition("\n")[2]
            raise AdapterRefused(
                f"{name} is no folder on the worker's machine, and the model hub does"
                f" not give it: {last}"
            )
        return Path(printed.decode().strip().rpartition("\n")[2])


def _checked(folder: Path) -> Path:
    if not (folder / "adapter_config.json").is_file():
        raise AdapterRefused(
            f"{folder} has no adapter_config.json on the worker's machine: put the"
            " folder there that PEFT saved the adapter in, or name another."
        )
    return folder
