"""The transformers engine, whose model fails at one word: as over a broken kernel.

It has `model_worker`'s flags: run by `failing_worker.py`.
"""

from typing import Any

from workers.transformers_engine import __main__ as engine
from workers.transformers_engine.model import LoadedModel, load_model

WORD = " explosion"


def load_failing(*arguments: Any, **options: Any) -> LoadedModel:
    """Return the model, which raises wherever it is given `WORD`."""
    loaded = load_model(*arguments, **options)
    [token] = loaded.tokenizer(WORD)["input_ids"]

    def fail(_model: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        if (inputs["input_ids"] == token).any():
            raise RuntimeError("boom")

    loaded.model.register_forward_pre_hook(fail, with_kwargs=True)
    return loaded


if __name__ == "__main__":
    engine.load_model = load_failing
    raise SystemExit(engine.main())
