"""Many answers at once cost less each: the order and its cause, not the figures.

The figures are the benchmark's (`make bench ARGS="--only engines"`); a test must not
fail for a busy machine, so that what counts here is the engine's own CPU time.
"""

import pytest

from tests.bench.engines import rate
from tests.engines import RunningWorker

pytestmark = pytest.mark.engine


def test_sixteen_at_once_share_the_passes_through_the_model(
    model_worker: RunningWorker,
) -> None:
    rate(model_worker, "auto", 1, num_tokens=4)
    alone = rate(model_worker, "auto", 1, num_tokens=16)

    together = rate(model_worker, "auto", 16, num_tokens=16)

    assert together.num_tokens == 16 * alone.num_tokens == 256
    # The aim is 2.5 times as many tokens; a tenth of what that adds is asked for here.
    assert together.tokens_per_second > 1.15 * alone.tokens_per_second
    assert together.tokens_per_cpu_second > 1.15 * alone.tokens_per_cpu_second
