"""The loop between the model and the requests: admit, decode a step, retire, again."""

import logging
import threading
from collections import deque
from collections.abc import Sequence as SequenceOf
from typing import Any

import torch

from workers.refusals import GenerationFailed
from workers.transformers_engine.batch import Batch, Prefill
from workers.transformers_engine.errors import EngineFull
from workers.transformers_engine.memory import (
    give_back_idle_memory,
    ran_out_of_memory,
)
from workers.transformers_engine.sequence import Sequence

logger = logging.getLogger(__name__)

PREFILL_CHUNK_TOKENS = 512
MAX_WAITING_PER_PLACE = 16


class Scheduler:
    """Runs sequences through `model` in a thread of its own.

    At most `max_concurrency` sequences are active at once, and never more than
    `cache_tokens` of KV cache can be needed for them; the others wait in order.
    """

    def __init__(self, model: Any, max_concurrency: int, cache_tokens: int) -> None:
        self.max_concurrency = max_concurrency
        self.cache_tokens = cache_tokens
        self.prompt_tokens_total = 0
        self.generation_tokens_total = 0
        self._model = model
        self._waiting: deque[list[Sequence]] = deque()
        self._prefill: Prefill | None = None
        self._batch: Batch | None = None
        self._is_stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step it is in."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, sequences: SequenceOf[Sequence]) -> None:
        """Put the answers wanted to one prompt in line; raises EngineFull."""
        with self._changed:
            if self.num_waiting >= MAX_WAITING_PER_PLACE * self.max_concurrency:
                raise EngineFull(self.num_waiting)
            self._waiting.append(list(sequences))
            self._changed.notify()

    def cancel(self, sequences: SequenceOf[Sequence]) -> None:
        """Stop working on `sequences` before the next step."""
        with self._changed:
            for sequence in sequences:
                sequence.is_cancelled = True
            self._waiting = deque(
                group for group in self._waiting if not _all_cancelled(group)
            )
            self._changed.notify()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def num_running(self) -> int:
        return len(self._active())

    @property
    def num_waiting(self) -> int:
        return sum(len(group) for group in list(self._waiting))

    @property
    def cache_usage(self) -> float:
        """The share of the KV cache's tokens in use now."""
        prefill, batch = self._prefill, self._batch
        used = prefill.num_cached_tokens if prefill else 0
        used += batch.num_cached_tokens if batch else 0
        return min(1.0, used / self.cache_tokens)

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                with torch.inference_mode():
                    self._admit()
                    self._prefill_step()
                    self._decode_step()
            except Exception:
                # Whatever it was, the next request must find a working engine.
                logger.exception("The scheduler failed; its sequences are given up.")
                self._give_up()

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (
                self._is_stopping or self._waiting or self._prefill or self._batch
            ):
                self._changed.wait()
            return not self._is_stopping

    def _admit(self) -> None:
        """Let the next in line begin, if it fits: one prefill goes on at a time."""
        with self._changed:
            if self._prefill is None and self._waiting and self._fits(self._waiting[0]):
                group = self._waiting.popleft()
                self._prefill = Prefill(group, PREFILL_CHUNK_TOKENS)

    def _fits(self, group: list[Sequence]) -> bool:
        together = self._active() + group
        # Every row of a batch is padded to the longest.
        longest = max(sequence.most_tokens for sequence in together)
        return (
            len(together) <= self.max_concurrency
            and len(together) * longest <= self.cache_tokens
        ) or len(together) == len(group)  # alone it always may: requests are bounded

    def _active(self) -> list[Sequence]:
        prefill, batch = self._prefill, self._batch
        prefilling = prefill.sequences if prefill else []
        return prefilling + (batch.sequences if batch else [])

    def _prefill_step(self) -> None:
        prefill = self._prefill
        if prefill is None:
            return
        if prefill.is_cancelled:
            self._prefill = None
            return
        try:
            scores = prefill.step(self._model)
            if scores is None:
                return
            self.prompt_tokens_total += len(prefill.sequences[0].prompt)
            new = prefill.batch()
            self._accept(new.sequences, scores.expand(len(new.sequences), -1))
            new.retire()
            if self._batch is not None and new.sequences:
                self._batch.merge(new)
            elif new.sequences:
                self._batch = new
        except Exception as error:
            _fail(prefill.sequences, error)
        self._prefill = None

    def _decode_step(self) -> None:
        batch = self._batch
        if batch is None:
            return
        batch.retire()  # of sequences cancelled since the last step
        if batch.sequences:
            try:
                scores = batch.step(self._model)
            except Exception as error:
                # The newest goes: without it the batch fitted. If not, the next one.
                _fail(batch.sequences[-1:], error)
            else:
                self._accept(batch.sequences, scores)
            batch.retire()
        if not batch.sequences:
            self._batch = None

    def _accept(self, sequences: list[Sequence], scores: torch.Tensor) -> None:
        for sequence, row in zip(sequences, scores, strict=True):
            if sequence.is_cancelled or sequence.is_finished:
                continue
            try:
                sequence.accept(row)
                self.generation_tokens_total += 1
            except Exception as error:
                _fail([sequence], error)

    def _give_up(self) -> None:
        failure = GenerationFailed("The engine failed and gave this request up.")
        _fail([each for each in self._active() if not each.is_finished], failure)
        self._prefill = self._batch = None


def _fail(sequences: SequenceOf[Sequence], error: Exception) -> None:
    logger.error("A request failed.", exc_info=error)
    if ran_out_of_memory(error):
        give_back_idle_memory()
        error = GenerationFailed("The engine ran out of memory on this request.")
    for sequence in sequences:
        sequence.fail(error)


def _all_cancelled(group: list[Sequence]) -> bool:
    return all(sequence.is_cancelled for sequence in group)
