"""A product with two real engines behind it, and a note of all that they say."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai

from tests import engines
from tests.product import Product, running_product, wait_until, wait_until_listed
from tests.proxies import Recorder, running_recorder
from tests.servers import free_port

MODELS = {"transformers": "smollm2-transformers", "vllm": "smollm2-vllm"}
START = {"transformers": engines.start_model_worker, "vllm": engines.start_vllm_worker}
# A page knows soon that the process which wrote its answer has died.
ENVIRONMENT = {"CHAT_INTERRUPTED_AFTER": "3", "SHUTDOWN_GRACE": "0.1"}
# Of float32 the same answer comes again, in whatever pieces it is reckoned. The second
# who asks the transformers worker waits in line.
FLAGS = {
    "transformers": ("--dtype", "float32", "--limit-worker-concurrency", "1"),
    "vllm": ("--dtype", "float32", "--max-model-len", "2048"),
}


@dataclass
class Line:
    """A product that can be stopped and started again on its port."""

    var_dir: Path
    product: Product
    recorders: dict[str, Recorder]
    """By the model's name: they hear what its engine says."""
    stack: ExitStack
    settings: dict[str, str] = field(default_factory=lambda: ENVIRONMENT)

    def restart(self, away_seconds: float = 0, **env: str) -> None:
        self.product.stop()
        time.sleep(away_seconds)  # what is tried here is the absence itself
        self.start_again(**env)

    def start_again(self, **env: str) -> None:
        """After its process has ended."""
        self.settings = ENVIRONMENT | env
        port = self.product.port
        again = running_product(self.var_dir, port=port, env=self.settings)
        self.product = self.stack.enter_context(again)
        for model in MODELS.values():
            wait_until_listed(self.product, model)

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.product.url}/v1",
            api_key=self.product.credentials.api_key,
            max_retries=0,
        )

    def rows_of(self, model: str) -> list[dict[str, Any]]:
        """The model's workers, as the controller lists them."""
        key = self.product.credentials.api_key
        response = self.product.call("GET", "/controller/workers/", key)
        return [row for row in response.json["data"] if model in row["models"]]

    def running(self, model: str) -> int:
        """What its engine works on by the last heartbeats, however late: on a busy
        machine workers fall silent."""
        return sum(row["running"] for row in self.rows_of(model))

    def wait_until_idle(self, model: str) -> None:
        wait_until(lambda: self.running(model) == 0, f"{model} to be free", 30)

    def said_by(self, model: str) -> list[str]:
        """The texts that its engine has streamed, oldest first."""
        return [each.text for each in self.recorders[model].said]


@contextmanager
def running_line(var_dir: Path, folder: Path) -> Iterator[Line]:
    with ExitStack() as stack:
        product = stack.enter_context(running_product(var_dir, env=ENVIRONMENT))
        line = Line(var_dir, product, {}, stack)

        def start(kind: str) -> None:
            name, port, near = MODELS[kind], free_port(), free_port()
            recording = running_recorder(f"http://127.0.0.1:{port}", near)
            line.recorders[name] = stack.enter_context(recording)
            where = (
                "--port",
                str(port),
                "--worker-address",
                f"http://127.0.0.1:{near}",
            )
            worker = START[kind](
                folder / kind,
                controller=product.url,
                join_token=product.credentials.join_token,
                name=name,
                flags=(*FLAGS[kind], *where),
            )
            stack.enter_context(worker)
            wait_until_listed(product, name)

        with ThreadPoolExecutor(len(MODELS)) as threads:
            list(threads.map(start, MODELS))
        yield line
