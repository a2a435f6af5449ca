"""The stand-in for a parent-death signal, where the kernel has none."""

import subprocess
import sys


def test_a_tethered_command_ends_when_its_parent_is_gone() -> None:
    program = "import time; print('up', flush=True); time.sleep(60)"
    tether = subprocess.Popen(
        [sys.executable, "-m", "workers.tether", sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with tether:
        assert tether.stdin is not None
        assert tether.stdout is not None
        assert tether.stdout.readline() == b"up\n"

        tether.stdin.close()  # as the kernel does for a parent that died

        assert tether.stdout.read() == b""  # its last holder, the command, is gone
        assert tether.wait(10) != 0


def test_a_tethered_command_hands_its_status_on() -> None:
    command = [sys.executable, "-m", "workers.tether", sys.executable, "-c", "exit(7)"]

    with subprocess.Popen(command, stdin=subprocess.PIPE) as tether:
        assert tether.wait(10) == 7
