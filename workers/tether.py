"""Run a command that ends when our standard input closes: when our parent is gone.

Used where the kernel cannot signal the death of a parent. The command is the
arguments; it and whatever it starts share our process group.
"""

import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 5.0


def main() -> int:
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: command.send_signal(received))
    threading.Thread(target=_end_with_parent, args=(command,), daemon=True).start()
    return command.wait()


def _end_with_parent(command: subprocess.Popen[bytes]) -> None:
    # Not sys.stdin: its lock, held by a thread that reads, aborts our own exit.
    while os.read(0, 1024):  # empty when the last writer, our parent, is gone
        pass
    command.terminate()
    try:
        command.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main())
