"""fptkit: frozen pretrained transformers for any modality, compared fairly.

The names below are the public interface for plugin authors. Those that need torch are imported at first use, so that
``import fptkit`` and the command line's listings stay fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fptkit.hookspecs import hookimpl
from fptkit.specs import (
    BackboneSpec,
    EncoderSpec,
    FreezingPolicySpec,
    FreezingRule,
    ListenerSpec,
    Protocol,
    RecipeFolderSpec,
    TaskSpec,
)

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fptkit.encoders.options import EncoderOptions
    from fptkit.freezing.options import FreezingOptions
    from fptkit.interfaces import (
        Accuracy,
        Backbone,
        Batch,
        Classes,
        Encoder,
        Grid,
        MeanSquaredError,
        Metric,
        Mixed,
        ParameterRole,
        SampledEvaluation,
        Split,
        Symbols,
        Task,
        Values,
        Vectors,
        keep_tokens,
    )
    from fptkit.options import Decides, Options
    from fptkit.tasks.generated import ArraySplit, GeneratedTask

_LATE = {
    **dict.fromkeys(
        (
            "Accuracy",
            "Backbone",
            "Batch",
            "Classes",
            "Encoder",
            "Grid",
            "MeanSquaredError",
            "Metric",
            "Mixed",
            "ParameterRole",
            "SampledEvaluation",
            "Split",
            "Symbols",
            "Task",
            "Values",
            "Vectors",
            "keep_tokens",
        ),
        "fptkit.interfaces",
    ),
    "ArraySplit": "fptkit.tasks.generated",
    "EncoderOptions": "fptkit.encoders.options",
    "GeneratedTask": "fptkit.tasks.generated",
    "FreezingOptions": "fptkit.freezing.options",
    "Decides": "fptkit.options",
    "Options": "fptkit.options",  # pydantic takes longer to import than all else here
}
"""Public names that need torch or pydantic, and where they live."""

__all__ = [
    "Accuracy",
    "ArraySplit",
    "Backbone",
    "BackboneSpec",
    "Batch",
    "Classes",
    "Decides",
    "Encoder",
    "EncoderOptions",
    "EncoderSpec",
    "FreezingOptions",
    "FreezingPolicySpec",
    "FreezingRule",
    "GeneratedTask",
    "Grid",
    "ListenerSpec",
    "MeanSquaredError",
    "Metric",
    "Mixed",
    "Options",
    "ParameterRole",
    "Protocol",
    "RecipeFolderSpec",
    "SampledEvaluation",
    "Split",
    "Symbols",
    "Task",
    "TaskSpec",
    "Values",
    "Vectors",
    "__version__",
    "hookimpl",
    "keep_tokens",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'fptkit' has no attribute '{name}'")
