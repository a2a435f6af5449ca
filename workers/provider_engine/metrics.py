"""This engine's numbers on a Prometheus page; `workers.upstream_numbers` reads them."""

from any_llm.types.completion import CompletionUsage
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from workers.upstream_api import UpstreamApi


class Load:
    """What is under way, and what has been done since the start."""

    def __init__(self, api: UpstreamApi) -> None:
        self._registry = CollectorRegistry()
        self.running = Gauge(
            f"{api}_requests_running", "Requests under way", registry=self._registry
        )
        self._prompt_tokens = self._counter(f"{api}_prompt_tokens", "Tokens taken in")
        self._tokens = self._counter(f"{api}_generation_tokens", "Tokens given")

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(name, f"{what}, as the provider counts", registry=self._registry)

    def count(self, usage: CompletionUsage | None) -> None:
        if usage is not None:
            self._prompt_tokens.inc(usage.prompt_tokens)
            self._tokens.inc(usage.completion_tokens)

    def page(self) -> bytes:
        return generate_latest(self._registry)
