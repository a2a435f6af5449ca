"""The engine as a process: `python -m workers.provider_engine`, keys in its env."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

import uvicorn

from workers.engine_guard import RequireKey
from workers.errors import CannotStart
from workers.provider_engine.process import (
    UPSTREAM_HEADERS_VARIABLE,
    UPSTREAM_KEY_VARIABLE,
)
from workers.upstream_api import UpstreamApi

# Variables by which the providers' clients would take another key or address than
# those given, or log headers.
NOT_OURS = ("ANTHROPIC_", "GEMINI_", "GOOGLE_", "ANY_LLM_")


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(format="%(asctime)s %(levelname)s engine: %(message)s")
    for name in [name for name in os.environ if name.startswith(NOT_OURS)]:
        del os.environ[name]
    # After that: the clients read their variables as they are imported.
    from workers.provider_engine.app import Application
    from workers.provider_engine.provider import Provider, UpstreamKey, Where

    where = Where(
        api=arguments.api,
        address=arguments.address,
        version=arguments.api_version,
        headers=json.loads(os.environ.get(UPSTREAM_HEADERS_VARIABLE, "{}")),
    )
    try:
        key = UpstreamKey(
            os.environ.pop(UPSTREAM_KEY_VARIABLE, ""), arguments.upstream_key_file
        )
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 2
    uvicorn.run(
        RequireKey(Application(Provider(where, key))),
        host=arguments.host,
        port=arguments.port,
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        # The agent has let the answers in flight finish before it says stop.
        timeout_graceful_shutdown=1,
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.provider_engine")
    parser.add_argument("--api", type=UpstreamApi, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--api-version", default="")
    parser.add_argument("--upstream-key-file", type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
