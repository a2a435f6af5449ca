"""The engine as a process: `python -m workers.transformers_engine`, key in its env."""

import argparse
import logging
import sys

import torch
import uvicorn

from workers import cpu
from workers.engine_guard import RequireKey
from workers.errors import CannotStart
from workers.transformers_engine.app import Application
from workers.transformers_engine.embedder import Embedder
from workers.transformers_engine.embedding_model import load_embedding_model
from workers.transformers_engine.generation import Generator
from workers.transformers_engine.model import LoadSettings, load_model, usable_device
from workers.transformers_engine.scheduler import Scheduler
from workers.transformers_engine.served import ServedModel
from workers.transformers_engine.source import ModelSource, find_model


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s engine: %(message)s"
    )
    try:
        models = _served_models(arguments)
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for model in models:
        model.worker.start()
    uvicorn.run(
        RequireKey(Application(models)),
        host=arguments.host,
        port=arguments.port,
        ssl_certfile=arguments.ssl_certfile,
        ssl_keyfile=arguments.ssl_keyfile,
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        # The agent has let the answers in flight finish before it says stop.
        timeout_graceful_shutdown=1,
    )
    for model in models:
        model.worker.stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.transformers_engine")
    parser.add_argument("--model-path", action="append", required=True)
    parser.add_argument(
        "--names",
        action="append",
        required=True,
        type=lambda names: tuple(name.strip() for name in names.split(",")),
        help="a path's served name and aliases, in the order of the paths",
    )
    parser.add_argument("--revision")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ssl-certfile")
    parser.add_argument("--ssl-keyfile")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--num-bits", type=int)
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--max-concurrency", type=int, required=True)
    return parser.parse_args()


def _served_models(arguments: argparse.Namespace) -> list[ServedModel]:
    settings = LoadSettings(
        device=usable_device(arguments.device),
        dtype=arguments.dtype,
        max_model_len=arguments.max_model_len,
        num_bits=arguments.num_bits,
    )
    if settings.device == "cpu":
        # One core stays free for the HTTP side, and whatever else runs here.
        torch.set_num_threads(max(1, cpu.num_threads() - 1))
    sources = [find_model(path, arguments.revision) for path in arguments.model_path]
    names_of = dict(zip(arguments.model_path, arguments.names, strict=True))
    served = []
    for source, names in zip(sources, arguments.names, strict=True):
        does: Generator | Embedder
        if source.makes_embeddings:
            does = Embedder(load_embedding_model(source, settings))
        else:
            # Each takes its part of what is free once those before it are loaded.
            loaded = load_model(source, settings, share=1 / len(sources))
            does = Generator(
                loaded,
                Scheduler(loaded.model, arguments.max_concurrency, loaded.cache_tokens),
            )
        served.append(ServedModel(names, does, _parent(source, names_of)))
    return served


def _parent(source: ModelSource, names_of: dict[str, tuple[str, ...]]) -> str | None:
    """Return the name of an adapter's base: the one served here, or its folder's."""
    if source.base is None:
        return None
    served_here = names_of.get(source.base)
    return served_here[0] if served_here else source.folder.name


if __name__ == "__main__":
    raise SystemExit(main())
