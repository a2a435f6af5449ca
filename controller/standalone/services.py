"""The processes of which the product consists on one machine."""

import sys
from pathlib import Path

from django.conf import settings

from config import env
from controller import bootstrap
from controller.standalone.place import MODEL, Place
from controller.standalone.supervisor import Service

PACKAGED_MODEL = "smollm2"
MODEL_FOLDER = "SmolLM2-135M-Instruct"


def web(place: Place) -> Service:
    stop = settings.SHUTDOWN_NOTICE + settings.SHUTDOWN_GRACE
    return Service(
        "web",
        (
            *(sys.executable, "manage.py", "serve"),
            *("--host", place.host, "--port", str(place.port)),
        ),
        grace_seconds=stop.total_seconds() + 5,
    )


def tasks() -> Service:
    return Service(
        "tasks",
        (
            *(sys.executable, "-m", "celery", "--quiet", "-A", "config.celery"),
            *("worker", "--pool", "threads", "--concurrency", "2", "--beat"),
            # At INFO, three lines about the heartbeat each 15 s would drown the rest.
            *("--loglevel", env.text("LOG_LEVEL", "WARNING")),
        ),
    )


def preparation() -> Service:
    return Service(
        "model",
        (
            *(sys.executable, "-m", "workers.prepare_model", PACKAGED_MODEL),
            *("--into", str(models_folder())),
        ),
    )


def worker(place: Place) -> Service:
    var = Path(settings.VAR_DIR)
    module = "vllm_worker" if place.engine == "vllm" else "model_worker"
    command = [
        *(sys.executable, "-m", f"workers.{module}"),
        *("--model-path", str(models_folder() / MODEL_FOLDER)),
        *("--model-names", MODEL),
        *("--controller-address", place.local_url),
        *("--join-token-file", str(bootstrap.join_token_file())),
        *("--state-dir", str(var / "workers" / place.engine)),
    ]
    if place.engine == "vllm":
        engine_python = settings.BASE_DIR / ".venv-vllm" / "bin" / "python"
        command += ["--engine-python", str(engine_python)]
    return Service("worker", tuple(command), grace_seconds=45)


def models_folder() -> Path:
    return Path(settings.VAR_DIR) / "models"
