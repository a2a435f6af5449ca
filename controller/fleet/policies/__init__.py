"""Dispatch policies: which of the workers that could take a request gets it.

A policy is a small pure class over a pool of candidates. It sees no database and no
network. Adding one is a file here, an entry in `POLICIES`, and its name among the
choices of `ServedModel.policy` and `DISPATCH_POLICY`.
"""

from controller.fleet.policies.least_load import LeastLoad
from controller.fleet.policies.lottery import Lottery
from controller.fleet.policies.policy import Candidate, Choice, Policy
from controller.fleet.policies.pool import Pool
from controller.fleet.policies.prefix_affinity import PrefixAffinity
from controller.fleet.policies.round_robin import RoundRobin
from controller.fleet.policies.shortest_queue import ShortestQueue

__all__ = ["POLICIES", "Candidate", "Choice", "Policy", "Pool"]

POLICIES: dict[str, type[Policy]] = {
    "lottery": Lottery,
    "shortest_queue": ShortestQueue,
    "round_robin": RoundRobin,
    "least_load": LeastLoad,
    "prefix_affinity": PrefixAffinity,
}
