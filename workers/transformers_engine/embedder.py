"""Vectors for texts: those of all clients that wait are made together."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

import torch

from workers.refusals import GenerationFailed
from workers.transformers_engine.embedding_model import EmbeddingModel
from workers.transformers_engine.errors import EngineFull
from workers.transformers_engine.memory import (
    give_back_idle_memory,
    ran_out_of_memory,
)

logger = logging.getLogger(__name__)

MAX_TEXTS_AT_ONCE = 32
MAX_WAITING_TEXTS = 16_384

Waiting = tuple[Sequence[int], Future[torch.Tensor]]


class Embedder:
    """Runs texts through `loaded` in a thread of its own."""

    generation_tokens_total = 0
    cache_usage = 0.0

    def __init__(self, loaded: EmbeddingModel) -> None:
        self.loaded = loaded
        self.num_running = 0
        self.prompt_tokens_total = 0
        self.cache_tokens = MAX_TEXTS_AT_ONCE * loaded.context_length
        self._waiting: deque[Waiting] = deque()
        self._is_stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="embedder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the pass it is in."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def submit(self, texts: Sequence[Sequence[int]]) -> list[Future[torch.Tensor]]:
        """Put `texts`, as tokens, in line; raises EngineFull.

        A future that is cancelled before its turn costs nothing.
        """
        with self._changed:
            if len(self._waiting) + len(texts) > MAX_WAITING_TEXTS:
                raise EngineFull(len(self._waiting))
            futures: list[Future[torch.Tensor]] = [Future() for _ in texts]
            self._waiting.extend(zip(texts, futures, strict=True))
            self._changed.notify()
        return futures

    def _run(self) -> None:
        while batch := self._next_batch():
            self.num_running = len(batch)
            try:
                self._embed(batch)
            except Exception as error:
                logger.exception("Texts could not be embedded.")
                self._fail(batch, error)
            self.num_running = 0

    def _next_batch(self) -> list[Waiting]:
        """Return the next texts to embed, as soon as there are any; none at the end."""
        with self._changed:
            while True:
                while not (self._waiting or self._is_stopping):
                    self._changed.wait()
                if self._is_stopping:
                    return []
                batch: list[Waiting] = []
                while self._waiting and len(batch) < MAX_TEXTS_AT_ONCE:
                    text, future = self._waiting.popleft()
                    if future.set_running_or_notify_cancel():
                        batch.append((text, future))
                if batch:
                    return batch

    def _embed(self, batch: list[Waiting]) -> None:
        # Texts of like length side by side: a short one is not padded to the longest.
        batch.sort(key=lambda waiting: len(waiting[0]))
        for part in _of_like_length(batch):
            vectors = self.loaded.embed([text for text, _ in part])
            for (text, future), vector in zip(part, vectors, strict=True):
                self.prompt_tokens_total += len(text)
                future.set_result(vector)

    @staticmethod
    def _fail(batch: list[Waiting], error: Exception) -> None:
        if ran_out_of_memory(error):
            give_back_idle_memory()
            error = GenerationFailed("The engine ran out of memory on these texts.")
        for _, future in batch:
            if not future.done():
                future.set_exception(error)


def _of_like_length(batch: list[Waiting]) -> list[list[Waiting]]:
    """Part `batch`, shortest first, so that none is twice as long as another."""
    parts: list[list[Waiting]] = []
    for waiting in batch:
        if parts and len(waiting[0]) <= 2 * len(parts[-1][0][0]):
            parts[-1].append(waiting)
        else:
            parts.append([waiting])
    return parts
