"""The models of one engine, each under its names."""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.refusals import RequestRefused
from workers.transformers_engine.embedder import Embedder
from workers.transformers_engine.generation import Generator
from workers.transformers_engine.scheduler import Scheduler


@dataclass(frozen=True)
class ServedModel:
    names: tuple[str, ...]
    """The served name, then its aliases."""
    does: Generator | Embedder
    parent: str | None = None
    """The base model's name, for an adapter."""

    @property
    def worker(self) -> Scheduler | Embedder:
        """What works on the model's requests, in a thread of its own."""
        return self.does.scheduler if isinstance(self.does, Generator) else self.does

    @property
    def generator(self) -> Generator:
        """What answers with it; raises RequestRefused if it makes embeddings."""
        if isinstance(self.does, Generator):
            return self.does
        raise RequestRefused(
            f"model: {self.names[0]!r} makes embeddings; it writes no text.", "model"
        )

    @property
    def embedder(self) -> Embedder:
        """What makes embeddings with it; raises RequestRefused if it does not."""
        if isinstance(self.does, Embedder):
            return self.does
        raise RequestRefused(
            f"model: {self.names[0]!r} writes text; it makes no embeddings.", "model"
        )


class ServedModels:
    """The models by name; the first is meant where a request names none."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.all = tuple(models)
        self._by_name = {name: model for model in models for name in model.names}

    def named(self, name: str) -> ServedModel:
        """Return the model of that name; raises RequestRefused."""
        model = self._by_name.get(name) if name else self.all[0]
        if model is None:
            raise RequestRefused(
                f"The model {name!r} does not exist.", "model", "model_not_found", 404
            )
        return model
