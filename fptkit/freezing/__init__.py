"""Which parameters train, the proof that the others did not, and how many there are."""

from fptkit.freezing.counts import ParameterCounts, count_as_paper, count_parameters, count_reached
from fptkit.freezing.policy import TrainedGroup, apply_policy
from fptkit.freezing.proof import FreezeProof

__all__ = [
    "FreezeProof",
    "ParameterCounts",
    "TrainedGroup",
    "apply_policy",
    "count_as_paper",
    "count_parameters",
    "count_reached",
]
