"""How much work lies before a worker, in tokens to be read."""

from controller.fleet.policies.policy import Candidate, capacity

# What a request that is being answered keeps from the others, as if it were a prompt
# of so many tokens; docs/routing.md has the measurement.
TOKENS_PER_REQUEST = 512
# A full KV cache pauses requests or throws out what others would find: no use can be
# made of the last per cent of it.
FULLEST = 0.99


def backlog(candidate: Candidate) -> float:
    """Uncached prompt tokens in flight, and the requests on it in the same measure.

    The KV cache weighs like k / (1 - k) requests: nothing while there is room, more
    than anything else once it is nearly full.
    """
    usage = min(candidate.kv_cache_usage, FULLEST)
    num_requests = candidate.queue_length + usage / (1 - usage)
    return candidate.prefill_tokens + TOKENS_PER_REQUEST * num_requests


def relative_backlog(candidate: Candidate) -> float:
    """The same for a worker of weight 1."""
    return backlog(candidate) / capacity(candidate)
