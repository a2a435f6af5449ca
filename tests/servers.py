"""Real Redis and PostgreSQL servers in temporary folders, on free ports."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

POSTGRES_OWNER = "postgres"  # whom Debian's package creates; root may not run it


class ServerMissing(Exception):
    """Its program is not installed; the text names the package."""


@dataclass(frozen=True)
class PostgresServer:
    port: int

    def new_database(self, like: str = "") -> str:
        """The URL of a database that nothing else uses; with a copy of what is in the
        one at the URL `like`, which nobody may be connected to."""
        template = like.rpartition("/")[2] or "template1"
        name = f"switchyard_{uuid.uuid4().hex[:12]}"
        address = f"host=127.0.0.1 port={self.port} user=switchyard dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return f"postgres://switchyard@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """The URL of a Redis that keeps nothing and is gone afterwards."""
    program = shutil.which("redis-server")
    if program is None:
        raise ServerMissing("redis-server is not installed (package redis-server)")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    with running(command, "Ready to accept connections"):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server for loopback without passwords, gone afterwards."""
    binaries = postgres_binaries()
    if binaries is None:
        raise ServerMissing("PostgreSQL is not installed (package postgresql)")
    owner = POSTGRES_OWNER if os.geteuid() == 0 else None
    if owner:
        shutil.chown(folder, owner)
    subprocess.run(
        [
            *(binaries / "initdb", "--pgdata", folder / "data"),
            *("--username", "switchyard", "--auth", "trust"),
            *("--encoding", "UTF8", "--no-sync"),
        ],
        check=True,
        capture_output=True,
        user=owner,
        cwd=folder,
    )
    port = free_port()
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
    command += ["-c", "fsync=off", "-c", "unix_socket_directories="]
    with running(command, "ready to accept connections", user=owner, cwd=folder):
        yield PostgresServer(port)


def postgres_binaries() -> Path | None:
    """The newest installed version's folder: Debian does not put it on the PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    if found := sorted(versions, key=lambda path: int(path.parts[-3]), reverse=True):
        return found[0].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextlib.contextmanager
def running(
    command: list[str], ready: str, user: str | None = None, cwd: Path | None = None
) -> Iterator[None]:
    """The process, from the line that holds `ready` on; ended by SIGINT afterwards."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        user=user,
        cwd=cwd,
    )
    assert process.stdout is not None
    seen = []
    # A full pipe would stop the server in the middle of a test.
    drain = threading.Thread(target=process.communicate, daemon=True)
    try:
        for line in process.stdout:
            seen.append(line)
            if ready in line:
                break
        else:
            raise AssertionError(f"{command[0]} did not start:\n{''.join(seen)}")
        drain.start()
        yield
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL waits for no client then
        if drain.ident:
            drain.join(timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
