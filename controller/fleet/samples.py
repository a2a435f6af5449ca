"""How workers fare over time: counted in memory, written twice a minute as samples."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils.timezone import now

from controller.ledger.queue import FinishedRequest
from controller.models import WorkerSample
from workers.protocol import Heartbeat


@dataclass(slots=True)
class Outcomes:
    """What came of the requests that were sent to one worker."""

    num_requests: int = 0
    num_errors: int = 0
    num_first_tokens: int = 0
    ttft_seconds: float = 0.0

    def add(self, finished: FinishedRequest) -> None:
        self.num_requests += 1
        self.num_errors += finished.status >= 500
        if finished.ttft_seconds is not None:
            self.num_first_tokens += 1
            self.ttft_seconds += finished.ttft_seconds


class SampleBook:
    """What one web process has seen of each worker since the last samples."""

    def __init__(self) -> None:
        self.outcomes: dict[UUID, Outcomes] = {}
        self._heard: dict[UUID, Heartbeat] = {}

    def note(self, finished: FinishedRequest) -> None:
        """Count a request; one that no worker was sent is nobody's."""
        if finished.worker_id is not None:
            self.outcomes.setdefault(finished.worker_id, Outcomes()).add(finished)

    def hear(self, heard: Mapping[UUID, tuple[datetime, Heartbeat]]) -> None:
        for worker_id, (_heard_at, heartbeat) in heard.items():
            self._heard[worker_id] = heartbeat

    def take(self, known: Iterable[UUID]) -> list[WorkerSample]:
        """The samples of all known workers of whom there is anything to say."""
        at = now()
        outcomes, self.outcomes = self.outcomes, {}
        heard, self._heard = self._heard, {}
        return [
            _sample(worker_id, at, heard.get(worker_id), outcomes.get(worker_id))
            for worker_id in known
            if worker_id in heard or worker_id in outcomes
        ]


def write_samples(samples: list[WorkerSample]) -> None:
    WorkerSample.objects.bulk_create(samples)


def _sample(
    worker_id: UUID, at: datetime, beat: Heartbeat | None, outcomes: Outcomes | None
) -> WorkerSample:
    sample = WorkerSample(worker_id=worker_id, taken_at=at)
    if beat is not None:
        sample.start_id = beat.start_id
        sample.running, sample.waiting = beat.running, beat.waiting
        sample.kv_cache_usage = beat.kv_cache_usage
        sample.generation_tokens_total = beat.generation_tokens_total
    if outcomes is not None:
        sample.num_requests = outcomes.num_requests
        sample.num_errors = outcomes.num_errors
        sample.num_first_tokens = outcomes.num_first_tokens
        sample.ttft_seconds = outcomes.ttft_seconds
    return sample
