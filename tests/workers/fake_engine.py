"""An engine without a model: what an agent asks for, and a way to make it crash.

It does completions; a model named `embedder` does embeddings, `idler` nothing.
`POST /crash` ends it, `POST /hang` makes it stop answering, `POST /stall` makes it
get nothing done while it answers, `POST /busy` and `POST /idle` set how many requests
it claims to run. Where the folder holds a file `loading`, it says what that says and
loads until the file is gone. Started with a key, as engines are.
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
            self.answer({"data": models})
        elif self.path == "/metrics":
            self.answer(METRICS.format(Handler.num_running))
        else:
            about = {"pid": os.getpid(), "environment": sorted(os.environ)}
            self.answer({"version": "1.0", **about})

    def do_POST(self) -> None:
        if not self.has_key():
            self.send_error(401)
            return
        if self.path == "/crash":
            os._exit(3)
        elif self.path == "/hang":
            self.go_on.clear()
        elif self.path == "/stall":
            self.work_on.clear()
        elif self.path in ("/busy", "/idle"):
            Handler.num_running = int(self.path == "/busy")
        elif self.path != TASK_PATH:
            self.send_error(404)
            return
        else:
            self.work_on.wait()
        self.answer({"choices": []})

    def has_key(self) -> bool:
        return KEYS.include(self.headers.get("Authorization", "").encode())

    def answer(self, body: Any) -> None:
        content = body if isinstance(body, str) else json.dumps(body)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    if sys.argv[3] == "cannot-load":
        sys.exit("This model cannot be loaded.")
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
