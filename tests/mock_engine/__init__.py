"""A cheap real HTTP server that behaves like vLLM's OpenAI server.

Tests and the benchmark use it where the network and the wire format matter and a model
does not::

    with running_mock_engine(key="k", models=("mock-1",), interval_ms=10) as engine:
        ...                          # engine.url, engine.config.key
        engine.wait_for(cancelled=1)  # blocks until a client has left in mid-answer
        assert engine.requests()[0].tokens < 64

It runs in a process of its own, so that killing (`kill`) and freezing (`suspend`,
`resume`) it are real, and its work never shares a loop with what is tested. By hand:
`python -m tests.mock_engine --port 0 --key K --model mock-1`.
"""

from tests.mock_engine.behaviour import Behaviour, MockEngineConfig
from tests.mock_engine.process import MockEngine, running_mock_engine
from tests.mock_engine.records import RecordedRequest, Totals

__all__ = [
    "Behaviour",
    "MockEngine",
    "MockEngineConfig",
    "RecordedRequest",
    "Totals",
    "running_mock_engine",
]
