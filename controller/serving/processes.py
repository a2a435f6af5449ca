"""Several web processes behind one listening socket."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from django.conf import settings

logger = logging.getLogger(__name__)

QUICK_END_SECONDS = 5.0  # one that lived no longer is not worth another try at once


class WebProcesses:
    """`num_workers` children that share a listener; one that dies is started again."""

    def __init__(self, num_workers: int, flags: Sequence[str]) -> None:
        self._num_workers = num_workers
        self._flags = flags
        self._children: list[tuple[subprocess.Popen[bytes], float]] = []
        self._is_stopping = False

    def run(self, listener: socket.socket) -> None:
        """Return after a signal, when all children have ended."""
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, self._on_signal)
        for _ in range(self._num_workers):
            self._start_one(listener)
        while self._children:
            time.sleep(0.2)
            self._look_after(listener)

    def _start_one(self, listener: socket.socket) -> None:
        child = subprocess.Popen(
            [
                sys.executable,
                str(settings.BASE_DIR / "manage.py"),
                "serve",
                *self._flags,
                f"--fd={listener.fileno()}",
            ],
            env={**os.environ, "WEB_PROCESSES": str(self._num_workers)},
            pass_fds=[listener.fileno()],
        )
        self._children.append((child, time.monotonic()))

    def _look_after(self, listener: socket.socket) -> None:
        for child, started_at in list(self._children):
            if child.poll() is None:
                continue
            self._children.remove((child, started_at))
            if self._is_stopping:
                continue
            logger.error("web process %d ended (%s)", child.pid, child.returncode)
            if time.monotonic() - started_at < QUICK_END_SECONDS:
                time.sleep(1)
            self._start_one(listener)

    def _on_signal(self, *_args: object) -> None:
        self._is_stopping = True
        for child, _started_at in self._children:
            child.terminate()
