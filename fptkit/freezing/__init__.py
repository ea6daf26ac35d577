"""Freezing policies, the proof that frozen parameters did not change, and parameter counts.

The names are imported on first use, so that `fptkit.freezing.options` can be imported without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fptkit.freezing.counts import ParameterCounts, count_as_paper, count_parameters, gradient_pass
    from fptkit.freezing.policy import TrainedGroup, apply_policy
    from fptkit.freezing.proof import FreezeProof

_LATE = {
    "FreezeProof": "fptkit.freezing.proof",
    "ParameterCounts": "fptkit.freezing.counts",
    "TrainedGroup": "fptkit.freezing.policy",
    "apply_policy": "fptkit.freezing.policy",
    "count_as_paper": "fptkit.freezing.counts",
    "count_parameters": "fptkit.freezing.counts",
    "gradient_pass": "fptkit.freezing.counts",
}

__all__ = [
    "FreezeProof",
    "ParameterCounts",
    "TrainedGroup",
    "apply_policy",
    "count_as_paper",
    "count_parameters",
    "gradient_pass",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'fptkit.freezing' has no attribute '{name}'")
