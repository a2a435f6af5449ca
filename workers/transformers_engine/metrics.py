"""The engine's numbers on a Prometheus page, under vLLM's names."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Busy(Protocol):
    """What works on a model's requests: a scheduler or an embedder."""

    prompt_tokens_total: int
    generation_tokens_total: int
    cache_tokens: int

    @property
    def num_running(self) -> int: ...

    @property
    def num_waiting(self) -> int: ...

    @property
    def cache_usage(self) -> float: ...


class EngineNumbers(Collector):
    """The sums over the models of one engine."""

    def __init__(self, models: Sequence[Busy]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        models = self._models
        running = sum(model.num_running for model in models)
        waiting = sum(model.num_waiting for model in models)
        cache_tokens = sum(model.cache_tokens for model in models)
        used = sum(model.cache_usage * model.cache_tokens for model in models)
        for name, text, value in (
            ("num_requests_running", "Sequences being worked on", running),
            ("num_requests_waiting", "Sequences in line", waiting),
            ("kv_cache_usage_perc", "KV cache in use, 0 to 1", used / cache_tokens),
        ):
            yield GaugeMetricFamily(f"vllm:{name}", text, value=value)
        taken_in = sum(model.prompt_tokens_total for model in models)
        made = sum(model.generation_tokens_total for model in models)
        for name, text, total in (
            ("prompt_tokens", "Prompt tokens taken in", taken_in),
            ("generation_tokens", "Tokens made", made),
        ):
            yield CounterMetricFamily(f"vllm:{name}", text, value=total)
        cache = GaugeMetricFamily(
            "vllm:cache_config_info", "The KV cache", labels=["kv_cache_size_tokens"]
        )
        cache.add_metric([str(cache_tokens)], 1)
        yield cache


def metrics_page(models: Sequence[Busy]) -> bytes:
    """Return the page of an engine that serves `models`."""
    registry = CollectorRegistry()
    registry.register(EngineNumbers(models))
    return generate_latest(registry)
