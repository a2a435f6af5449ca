"""Prometheus metrics: counted when the ledger's batch is written, off the hot path."""

from collections.abc import Sequence

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
DURATION = Histogram(
    "switchyard_request_duration_seconds",
    "From a request's arrival to its end.",
    ["model"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)


def observe(batch: Sequence[FinishedRequest]) -> None:
    """Count these finished requests."""
    for finished in batch:
        face, model = finished.face, finished.model
        REQUESTS.labels(face, model, finished.status).inc()
        TOKENS.labels(face, model, "prompt").inc(finished.prompt_tokens)
        TOKENS.labels(face, model, "cached").inc(finished.cached_tokens)
        TOKENS.labels(face, model, "completion").inc(finished.completion_tokens)
        OVERHEAD.observe(finished.overhead_seconds)
        DURATION.labels(model).observe(finished.duration_seconds)
        if finished.ttft_seconds is not None:
            TTFT.labels(model).observe(finished.ttft_seconds)
