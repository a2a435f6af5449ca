"""The engine as a process: `python -m workers.transformers_engine`, key in its env."""

import argparse
import logging
import sys

import uvicorn

from workers.engine_guard import RequireKey
from workers.errors import CannotStart
from workers.transformers_engine.app import Application
from workers.transformers_engine.generation import Generator
from workers.transformers_engine.model import load_model
from workers.transformers_engine.scheduler import Scheduler


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workers.transformers_engine")
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--name", action="append", required=True, dest="names")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--max-concurrency", type=int, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s engine: %(message)s"
    )
    try:
        loaded = load_model(
            arguments.model_path,
            arguments.device,
            arguments.dtype,
            arguments.max_model_len,
        )
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 2
    scheduler = Scheduler(loaded.model, arguments.max_concurrency, loaded.cache_tokens)
    scheduler.start()
    application = Application(Generator(loaded, scheduler), tuple(arguments.names))
    uvicorn.run(
        RequireKey(application),
        host=arguments.host,
        port=arguments.port,
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        # The agent has let the answers in flight finish before it says stop.
        timeout_graceful_shutdown=1,
    )
    scheduler.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
