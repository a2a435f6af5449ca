"""The engine's numbers on a Prometheus page, under vLLM's names."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from workers.transformers_engine.scheduler import Scheduler


class SchedulerNumbers(Collector):
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def collect(self) -> Iterator[Metric]:
        scheduler = self._scheduler
        for name, text, value in (
            ("num_requests_running", "Sequences being decoded", scheduler.num_running),
            ("num_requests_waiting", "Sequences in line", scheduler.num_waiting),
            ("kv_cache_usage_perc", "KV cache in use, 0 to 1", scheduler.cache_usage),
        ):
            yield GaugeMetricFamily(f"vllm:{name}", text, value=value)
        for name, text, total in (
            ("prompt_tokens", "Prompt tokens taken in", scheduler.prompt_tokens_total),
            ("generation_tokens", "Tokens made", scheduler.generation_tokens_total),
        ):
            yield CounterMetricFamily(f"vllm:{name}", text, value=total)
        cache = GaugeMetricFamily(
            "vllm:cache_config_info", "The KV cache", labels=["kv_cache_size_tokens"]
        )
        cache.add_metric([str(scheduler.cache_tokens)], 1)
        yield cache


def metrics_page(scheduler: Scheduler) -> bytes:
    registry = CollectorRegistry()
    registry.register(SchedulerNumbers(scheduler))
    return generate_latest(registry)
