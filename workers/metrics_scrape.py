"""The engine's own numbers, read from its Prometheus page.

vLLM names them; the transformers engine bears the same names, so that one reader
serves both.
"""

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from workers.protocol import AdapterReport, Heartbeat, WorkerState


@dataclass(frozen=True, kw_only=True)
class EngineNumbers:
    """One reading. None stands for a number that the engine does not report."""

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float | None = None
    kv_cache_tokens: int | None = None
    prefix_cache_queries_total: int | None = None
    prefix_cache_hits_total: int | None = None
    prompt_tokens_total: int | None = None
    generation_tokens_total: int | None = None
    loading_progress: float | None = None
    """Share of the weights that are loaded, of an engine that is not ready yet."""

    def heartbeat(
        self,
        state: WorkerState,
        start_id: str,
        num_restarts: int,
        models: list[str],
        adapters: list[AdapterReport],
        log: list[str] | None = None,
    ) -> Heartbeat:
        return Heartbeat(
            state=state,
            start_id=start_id,
            num_restarts=num_restarts,
            models=models,
            adapters=adapters,
            log=log,
            running=self.running,
            waiting=self.waiting,
            kv_cache_usage=self.kv_cache_usage,
            prefix_cache_queries_total=self.prefix_cache_queries_total,
            prefix_cache_hits_total=self.prefix_cache_hits_total,
            prompt_tokens_total=self.prompt_tokens_total,
            generation_tokens_total=self.generation_tokens_total,
            loading_progress=self.loading_progress,
        )


def parse_engine_numbers(page: str) -> EngineNumbers:
    """Return the numbers on a Prometheus `page`; raises ValueError on a broken one.

    An engine with several ranks reports each number once per rank: counts are added,
    of the shares of KV cache in use the highest counts.
    """
    values: dict[str, list[float]] = {}
    kv_cache_tokens = 0
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            values.setdefault(sample.name, []).append(sample.value)
            if sample.name == "vllm:cache_config_info":
                kv_cache_tokens += _cache_tokens(sample.labels)

    def total(name: str) -> int | None:
        return int(sum(values[name])) if name in values else None

    usage = values.get("vllm:kv_cache_usage_perc")
    return EngineNumbers(
        running=total("vllm:num_requests_running") or 0,
        waiting=total("vllm:num_requests_waiting") or 0,
        kv_cache_usage=min(max(*usage, 0.0), 1.0) if usage else None,
        kv_cache_tokens=kv_cache_tokens or None,
        prefix_cache_queries_total=total("vllm:prefix_cache_queries_total"),
        prefix_cache_hits_total=total("vllm:prefix_cache_hits_total"),
        prompt_tokens_total=total("vllm:prompt_tokens_total"),
        generation_tokens_total=total("vllm:generation_tokens_total"),
    )


def _cache_tokens(labels: dict[str, str]) -> int:
    """Return the KV cache's size in tokens, which vLLM gives as a label; 0: unknown."""
    tokens = labels.get("kv_cache_size_tokens", "")
    return int(tokens) if tokens.isdigit() else 0
