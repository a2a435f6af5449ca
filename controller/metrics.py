"""Prometheus metrics: counted when the ledger's batch is written, off the hot path."""

from collections.abc import Sequence
from functools import lru_cache

from prometheus_client import Counter, Histogram

from controller.ledger.queue import FinishedRequest

REQUESTS = Counter(
    "switchyard_requests", "Finished requests.", ["face", "model", "status"]
)
TOKENS = Counter("switchyard_tokens", "Tokens by kind.", ["face", "model", "kind"])
TTFT = Histogram(
    "switchyard_ttft_seconds",
    "From a request's arrival to its first bytes.",
    ["model"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)
OVERHEAD = Histogram(
    "switchyard_overhead_seconds",
    "What the gateway itself added up to the first byte.",
    buckets=(0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.03, 0.1, 1),
)
QUEUED = Histogram(
    "switchyard_queue_wait_seconds",
    "In line for a worker, of those that had to wait.",
    ["model"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 60, 120, 300),
)
DURATION = Histogram(
    "switchyard_request_duration_seconds",
    "From a request's arrival to its end.",
    ["model"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)

# Finding a metric's child by its labels costs more than counting on it.
_requests = lru_cache(maxsize=4096)(REQUESTS.labels)
_tokens = lru_cache(maxsize=4096)(TOKENS.labels)
_ttft = lru_cache(maxsize=1024)(TTFT.labels)
_queued = lru_cache(maxsize=1024)(QUEUED.labels)
_duration = lru_cache(maxsize=1024)(DURATION.labels)


def observe(batch: Sequence[FinishedRequest]) -> None:
    """Count these finished requests."""
    for finished in batch:
        face, model = finished.face, finished.model
        _requests(face, model, finished.status).inc()
        _tokens(face, model, "prompt").inc(finished.prompt_tokens)
        _tokens(face, model, "completion").inc(finished.completion_tokens)
        if finished.cached_tokens:
            _tokens(face, model, "cached").inc(finished.cached_tokens)
        OVERHEAD.observe(finished.overhead_seconds)
        _duration(model).observe(finished.duration_seconds)
        if finished.ttft_seconds is not None:
            _ttft(model).observe(finished.ttft_seconds)
        if finished.queued_seconds is not None:
            _queued(model).observe(finished.queued_seconds)
