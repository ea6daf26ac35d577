"""Interfaces between tasks, encoders, backbones and heads.

Shapes use one alphabet: B batch, T tokens, F features of a raw token, D width of the backbone, R tokens read out,
K classes. Batches are padded on the right only, so lengths fully describe the padding; ``Batch.mask`` is computed from
them if needed.
"""

from fptkit.interfaces.batch import Batch, Inputs
from fptkit.interfaces.checks import (
    check_batch,
    check_best_metric,
    check_loss,
    check_metrics,
    check_selected,
    check_task_declarations,
)
from fptkit.interfaces.kinds import KIND_NAMES, Classes, Grid, InputKind, Mixed, Symbols, Values, Vectors
from fptkit.interfaces.metrics import Accuracy, GivenMetrics, MeanSquaredError, Metric, Metrics
from fptkit.interfaces.modules import Backbone, Encoder, ParameterRole, checked_roles, encode, keep_tokens, roles_inside
from fptkit.interfaces.preparation import Examples, Preparation
from fptkit.interfaces.shown import Shown
from fptkit.interfaces.task import SampledEvaluation, Split, Task
from fptkit.interfaces.token_classes import IGNORED, OutputKind, TokenClasses, prediction_shape, target_shape
from fptkit.specs.freezing import Role

__all__ = [
    "Accuracy",
    "Backbone",
    "Batch",
    "Classes",
    "Encoder",
    "Examples",
    "GivenMetrics",
    "Grid",
    "IGNORED",
    "InputKind",
    "Inputs",
    "KIND_NAMES",
    "MeanSquaredError",
    "Metric",
    "Metrics",
    "Mixed",
    "OutputKind",
    "ParameterRole",
    "Preparation",
    "Role",
    "SampledEvaluation",
    "Shown",
    "Split",
    "Symbols",
    "Task",
    "TokenClasses",
    "Values",
    "Vectors",
    "check_batch",
    "check_best_metric",
    "check_loss",
    "check_metrics",
    "check_selected",
    "check_task_declarations",
    "checked_roles",
    "encode",
    "keep_tokens",
    "prediction_shape",
    "roles_inside",
    "target_shape",
]
