"""What a worker keeps between its runs: its id, its credential, its engine key.

All of it lies in one folder that only its owner may enter.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from workers.errors import BadStateDir, StateDirInUse


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who the worker is to one controller."""

    controller: str
    worker_id: str
    credential: str


@dataclass(frozen=True)
class StateDir:
    """The folder of one worker. Create it with `open_state_dir`."""

    path: Path

    def read_identity(self, controller: str) -> Identity | None:
        """Return who we are to `controller`; None if it never took us.

        A file that was damaged counts as none: the join token brings us back in.
        """
        try:
            identity = msgspec.json.decode(
                (self.path / "identity.json").read_bytes(), type=Identity
            )
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return identity if identity.controller == controller else None

    def write_identity(self, identity: Identity) -> None:
        self._write("identity.json", msgspec.json.encode(identity))

    def write_engine_key(self, key: str) -> Path:
        """Keep the key of an engine that runs without a controller; return the file."""
        return self._write("engine_key", key.encode() + b"\n")

    def write_engine_keys(self, keys: Sequence[str]) -> Path:
        """Keep the keys that are to open a registered engine now; return the file."""
        return self._write("engine_keys", "\n".join(keys).encode() + b"\n")

    def _write(self, name: str, content: bytes) -> Path:
        """Write a file that its owner alone may read; raises `BadStateDir`."""
        # A new file renamed over the old one: a full disk never leaves half a
        # credential. mkstemp makes it readable by its owner alone.
        try:
            handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                os.replace(temporary, self.path / name)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return self.path / name


def open_state_dir(path: Path) -> StateDir:
    """Return the folder at `path`, created and closed to others (0700)."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    except OSError as error:
        raise BadStateDir(
            f"The state folder {path} cannot be used ({error.strerror});"
            " give another with --state-dir."
        ) from error
    return StateDir(path)


@contextmanager
def owned_state_dir(path: Path) -> Iterator[StateDir]:
    """Open the folder at `path`, as the one process that runs with it.

    Two of one identity would unseat each other at the controller, over and over, and
    one would change the other's engine key.
    """
    state_dir = open_state_dir(path)
    try:
        file = (path / "lock").open("w")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateDirInUse(
                f"Another worker runs with the state folder {path}; stop it, or give"
                " another with --state-dir."
            ) from error
        yield state_dir


def cannot_write(path: Path, error: OSError) -> BadStateDir:
    return BadStateDir(
        f"The state folder {path} cannot be written to ({error.strerror}); make room,"
        " or give another with --state-dir."
    )


def slug(text: str) -> str:
    """Return `text` as a folder name: lower case, other characters as dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "worker"
