"""Where a worker lives on its machine: its state folder, and the port of its engine.

Folders bear the port that they were made for, and yet are not bound to it. Where a
machine starts several workers at once, each takes the first port that it gets; by the
folder of that port it would be another worker than before, or one without a place.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from workers.addresses import ReservedPort, reserve_port
from workers.config import WorkerConfig
from workers.errors import BadStateDir, PortTaken, StateDirInUse
from workers.state import StateDir, owned_state_dir, slug

FOLDER = Path("var/workers")


@contextmanager
def own_place(
    config: WorkerConfig, host: str
) -> Iterator[tuple[StateDir, ReservedPort]]:
    """Hold the state folder and the port at `host` of the worker that `config` means.

    What it says wins. Else it is a folder by which a worker of this name was known to
    this controller, and that no other one has now, with its port if that is free; else
    new ones. Raises `CannotStart`.
    """
    with ExitStack() as stack:
        if config.state_dir is not None:
            port = stack.enter_context(reserve_port(host, config.port))
            yield stack.enter_context(owned_state_dir(config.state_dir)), port
            return
        known = _known_place(config, stack)
        port = stack.enter_context(_port(host, config.port, known and known[1]))
        yield known[0] if known else _new_folder(config.name, port.number, stack), port


def _known_place(config: WorkerConfig, stack: ExitStack) -> tuple[StateDir, int] | None:
    """Take a folder of before; return it with the port that it was made for."""
    if config.controller is None:
        return None
    made_for = re.compile(rf"{re.escape(slug(config.name))}-(\d{{1,5}})(\.\d+)?")
    for folder in sorted(FOLDER.glob("*")):
        found = made_for.fullmatch(folder.name)
        if found is None or config.port not in (None, int(found[1])):
            continue
        with suppress(BadStateDir, OSError):
            if StateDir(folder).read_identity(config.controller) is not None:
                return stack.enter_context(owned_state_dir(folder)), int(found[1])
    return None


def _port(host: str, wished: int | None, of_before: int | None) -> ReservedPort:
    if wished is None and of_before is not None:
        with suppress(PortTaken):
            return reserve_port(host, of_before)
    return reserve_port(host, wished)


def _new_folder(name: str, port: int, stack: ExitStack) -> StateDir:
    """Take the port's folder, or one beside it where a worker that moved has that."""
    base = f"{slug(name)}-{port}"
    for number in count(1):
        folder = FOLDER / (base if number == 1 else f"{base}.{number}")
        with suppress(StateDirInUse):
            return stack.enter_context(owned_state_dir(folder))
    raise AssertionError("there is always another number")
