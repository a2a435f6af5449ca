"""`switchyard-chat` on a pseudo-terminal of its own, typed into as people do."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.product import ROOT, Product, wait_until

SECONDS = 60
EDITOR_READS = "\x1b[?2004h"  # it asks for pastes in brackets
COMMAND = [sys.executable, "-m", "chat.terminal"]


def environment_of(product: Product, **more: str) -> dict[str, str]:
    """What finds the product's address, its folder's key, and this source."""
    place = {
        "SWITCHYARD_API_BASE": f"{product.url}/v1",
        "VAR_DIR": str(product.var_dir),
        "XDG_STATE_HOME": str(product.var_dir / "state"),
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
    }
    return place | more


class Terminal:
    """The command on a pseudo-terminal that is its own."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        # Written by the reading thread alone, as the place in it by the test alone.
        self.all_shown = b""
        self._seen = 0
        self.process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def type_at_prompt(self, text: str) -> None:
        """What is typed before the editor reads is the terminal's own to interpret."""
        self.wait_for(EDITOR_READS)
        self.type(text)

    def wait_for(self, text: str) -> None:
        """Until it was shown since the last time; colours and places do not count."""
        sought = text.encode()
        found = wait_until(
            lambda: self.all_shown.find(sought, self._seen) + 1, repr(text)
        )
        self._seen = found

    def _read(self) -> None:
        try:
            while piece := os.read(self._master, 4096):
                self.all_shown += piece
        except OSError:
            return  # the other side is closed


@contextmanager
def running_terminal(
    product: Product, folder: Path, *flags: str, num_columns: int = 80
) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, num_columns, 0, 0))
    # Its own session, in which the terminal's Ctrl-C is a signal, also where the tests
    # run in the background of a shell, which has them ignore it.
    code = (
        "import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from chat.terminal.command import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *flags],
        cwd=folder,
        env=environment_of(product, TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)
