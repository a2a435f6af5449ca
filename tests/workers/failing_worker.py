"""`workers.model_worker`, whose engine is `failing_engine.py`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from workers import model_worker
from workers.model_worker import transformers_engine
from workers.supervisor import Engine

FAILING_ENGINE = Path(__file__).with_name("failing_engine.py")


def failing_engine(*arguments: Any, **options: Any) -> Engine:
    engine = transformers_engine(*arguments, **options)
    flags = engine.command.arguments[3:]  # behind: python -m workers.transformers...
    command = dataclasses.replace(
        engine.command, arguments=[sys.executable, str(FAILING_ENGINE), *flags]
    )
    return dataclasses.replace(engine, command=command)


if __name__ == "__main__":
    model_worker.transformers_engine = failing_engine
    raise SystemExit(model_worker.main())
