"""Write an environment's exact versions as pip constraints: `lock.py .venv FILE`.

The local part of a version (torch's `+cpu`) is left out: `torch==2.13.0` fits both
the CPU and the CUDA build, and which of them is wanted is `environment.py`'s to say.
"""

import re
import subprocess
import sys
from pathlib import Path

HEADER = "# Written by `make lock` from a tested environment.\n"
# Packages of the CUDA build only, and the tools that install the rest.
LEFT_OUT = re.compile(r"^(nvidia-|cuda-|triton==|pip==|setuptools==|wheel==)")


def constraints(freeze: str) -> str:
    """`pip freeze`'s lines as constraints, without editable and local versions."""
    lines = [
        re.sub(r"\+[\w.]+$", "", line)
        for line in freeze.splitlines()
        if "==" in line and not LEFT_OUT.match(line)
    ]
    return HEADER + "".join(f"{line}\n" for line in sorted(lines, key=str.lower))


if __name__ == "__main__":
    environment, target = map(Path, sys.argv[1:])
    python = str(environment / "bin" / "python")
    command = [python, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    target.write_text(constraints(frozen))
