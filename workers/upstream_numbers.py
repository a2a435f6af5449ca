"""What foreign engines report of themselves, in the words of our heartbeats."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from workers.metrics_scrape import EngineNumbers, parse_engine_numbers
from workers.upstream_api import UpstreamApi


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """An engine's names on its Prometheus page; None for what it does not report."""

    engine: str
    running: str
    waiting: str
    kv_cache_usage: str | None = None
    prompt_tokens: str | None = None
    generation_tokens: str | None = None


DIALECTS = (
    Dialect(
        engine="sglang",
        running="sglang:num_running_reqs",
        waiting="sglang:num_queue_reqs",
        kv_cache_usage="sglang:token_usage",
        prompt_tokens="sglang:prompt_tokens_total",
        generation_tokens="sglang:generation_tokens_total",
    ),
    Dialect(
        engine="llama.cpp",
        running="llamacpp:requests_processing",
        waiting="llamacpp:requests_deferred",
        kv_cache_usage="llamacpp:kv_cache_usage_ratio",
        prompt_tokens="llamacpp:prompt_tokens_total",
        generation_tokens="llamacpp:tokens_predicted_total",
    ),
    *(
        Dialect(
            engine=api,
            running=f"{api}_requests_running",
            waiting="",
            prompt_tokens=f"{api}_prompt_tokens_total",
            generation_tokens=f"{api}_generation_tokens_total",
        )
        for api in UpstreamApi
        if api.is_foreign
    ),
    Dialect(engine="tgi", running="tgi_batch_current_size", waiting="tgi_queue_size"),
)


def parse_upstream_numbers(page: str) -> tuple[str, EngineNumbers] | None:
    """Return an engine's name and numbers; None for a page in no dialect we know.

    Raises ValueError for a page that is not Prometheus's.
    """
    if "vllm:num_requests_running" in page:
        return "vllm", parse_engine_numbers(page)
    values: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            values.setdefault(sample.name, []).append(sample.value)
    for dialect in DIALECTS:
        if dialect.running in values:
            return dialect.engine, _numbers(dialect, values)
    return None


def _numbers(dialect: Dialect, values: Mapping[str, list[float]]) -> EngineNumbers:
    def total(name: str | None) -> int | None:
        found = values.get(name or "")
        return max(0, int(sum(found))) if found else None

    usage = values.get(dialect.kv_cache_usage or "")
    return EngineNumbers(
        running=total(dialect.running) or 0,
        waiting=total(dialect.waiting) or 0,
        kv_cache_usage=min(max(*usage, 0.0), 1.0) if usage else None,
        prompt_tokens_total=total(dialect.prompt_tokens),
        generation_tokens_total=total(dialect.generation_tokens),
    )
