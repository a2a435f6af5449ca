"""An engine without a model: what an agent asks for, and a way to make it crash.

It does completions; a model named `embedder` does embeddings, `idler` nothing;
`cannot-load` and `refuses-its-flags` end it at once.
`POST /crash` ends it, `POST /hang` makes it stop answering, `POST /stall` makes it
get nothing done while it answers, `POST /busy` and `POST /idle` set how many requests
it claims to run. Where the folder holds a file `loading`, it says what that says and
loads until the file is gone. Started with a key, as engines are.

With RUNTIME_LORA it loads and unloads adapters as vLLM does; in LORA_MODULES it is told
of some from the start. A folder that holds a file `broken` cannot be loaded.
"""

import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from workers.engine_guard import AcceptedKeys

LOADING = Path("loading")
KEYS = AcceptedKeys()
TASK_PATHS = {"embedder": "/v1/embeddings", "idler": "/tokenize"}
TASK_PATH = TASK_PATHS.get(sys.argv[3], "/v1/completions")
ADAPTERS = dict(
    pair.split("=") for pair in os.environ.get("LORA_MODULES", "").split(",") if pair
)
METRICS = "vllm:num_requests_running {}\nvllm:generation_tokens_total 42\n"


class Handler(BaseHTTPRequestHandler):
    num_running = 0
    go_on = threading.Event()
    work_on = threading.Event()

    def do_GET(self) -> None:
        self.go_on.wait()
        if self.path == "/health":
            self.answer({})
        elif not self.has_key():
            self.send_error(401)
        elif self.path == "/v1/models":
            models = [{"id": name, "max_model_len": 512} for name in sys.argv[3:]]
            self.answer({"data": models + [adapter_card(name) for name in ADAPTERS]})
        elif self.path == "/metrics":
            self.answer(METRICS.format(Handler.num_running))
        else:
            about = {"pid": os.getpid(), "environment": sorted(os.environ)}
            about["adapters"] = ADAPTERS
            self.answer({"version": "1.0", **about})

    def do_POST(self) -> None:
        if not self.has_key():
            self.send_error(401)
            return
        body = self.body()
        if self.path == "/crash":
            os._exit(3)
        elif self.path == "/hang":
            self.go_on.clear()
        elif self.path == "/stall":
            self.work_on.clear()
        elif self.path in ("/busy", "/idle"):
            Handler.num_running = int(self.path == "/busy")
        elif self.path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            self.change_adapters(body)
            return
        elif self.path != TASK_PATH or body["model"] not in {*sys.argv[3:], *ADAPTERS}:
            self.send_error(404)
            return
        else:
            self.work_on.wait()
        self.answer({"choices": []})

    def body(self) -> Any:
        length = int(self.headers.get("Content-Length", 0))
        return json.loads(self.rfile.read(length) or "{}")

    def change_adapters(self, body: dict[str, str]) -> None:
        name, folder = body["lora_name"], Path(body.get("lora_path", ""))
        if "RUNTIME_LORA" not in os.environ:
            self.send_error(404)
        elif self.path == "/v1/unload_lora_adapter":
            known = ADAPTERS.pop(name, None) is not None
            self.answer({}) if known else self.refuse(404, f"{name} cannot be found.")
        elif name in ADAPTERS:
            self.refuse(400, f"{name} has already been loaded.")
        elif (folder / "broken").exists():
            self.refuse(500, f"{name} has rank 64, more than 8.\nAnd a traceback.")
        else:
            ADAPTERS[name] = str(folder)
            self.answer({})

    def refuse(self, status: int, message: str) -> None:
        self.answer({"error": {"message": message, "code": status}}, status)

    def has_key(self) -> bool:
        return KEYS.include(self.headers.get("Authorization", "").encode())

    def answer(self, body: Any, status: int = 200) -> None:
        content = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None:
        pass


def adapter_card(name: str) -> dict[str, str | None]:
    return {"id": name, "max_model_len": None, "parent": sys.argv[3]}


if __name__ == "__main__":
    if sys.argv[3] == "cannot-load":
        sys.exit("This model cannot be loaded.")
    if sys.argv[3] == "refuses-its-flags":
        sys.exit(2)
    while LOADING.exists():
        sys.stderr.write(LOADING.read_text())
        time.sleep(0.05)
    Handler.go_on.set()
    Handler.work_on.set()
    server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    if certfile := os.environ.get("CERTFILE"):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certfile, os.environ["KEYFILE"])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
