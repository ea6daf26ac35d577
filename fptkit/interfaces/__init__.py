"""Interfaces between tasks, encoders, backbones and heads.

Shapes use one alphabet: B batch, T tokens, F features of a raw token, D width of the backbone, R tokens read out,
K classes. Batches are padded on the right only, so lengths fully describe the padding; ``Batch.mask`` is computed from
them if needed.
"""

from fptkit.interfaces.answer_kind import IGNORED, AnswerKind, OutputKind, Seen, prediction_shape, target_shape
from fptkit.interfaces.answers import Each, answer_kinds, mean_of
from fptkit.interfaces.batch import Batch, Inputs
from fptkit.interfaces.checks import (
    check_batch,
    check_best_metric,
    check_loss,
    check_mean_of_examples,
    check_metrics,
    check_selected,
    check_task_declarations,
)
from fptkit.interfaces.kinds import Classes, Grid, Symbols, Values, Vectors
from fptkit.interfaces.labels import Labels
from fptkit.interfaces.metrics import Accuracy, GivenMetrics, MeanSquaredError, Metric, Metrics
from fptkit.interfaces.mixed import KIND_NAMES, InputKind, Mixed
from fptkit.interfaces.modules import (
    Backbone,
    Encoder,
    ParameterRole,
    check_roles,
    checked_roles,
    encode,
    keep_tokens,
    roles_inside,
)
from fptkit.interfaces.next_symbol import NextSymbol
from fptkit.interfaces.preparation import Examples, Preparation
from fptkit.interfaces.ranking import Ranking
from fptkit.interfaces.schedule import Schedule
from fptkit.interfaces.shown import Shown
from fptkit.interfaces.task import SampledEvaluation, Split, Task
from fptkit.interfaces.token_classes import TokenClasses
from fptkit.interfaces.token_values import TokenValues
from fptkit.specs.freezing import Role

__all__ = [
    "Accuracy",
    "AnswerKind",
    "Backbone",
    "Batch",
    "Classes",
    "Each",
    "Encoder",
    "Examples",
    "GivenMetrics",
    "Grid",
    "IGNORED",
    "InputKind",
    "Inputs",
    "Labels",
    "KIND_NAMES",
    "MeanSquaredError",
    "Metric",
    "Metrics",
    "Mixed",
    "NextSymbol",
    "OutputKind",
    "ParameterRole",
    "Preparation",
    "Ranking",
    "Role",
    "SampledEvaluation",
    "Schedule",
    "Seen",
    "Shown",
    "Split",
    "Symbols",
    "Task",
    "TokenClasses",
    "TokenValues",
    "Values",
    "Vectors",
    "answer_kinds",
    "check_batch",
    "check_best_metric",
    "check_loss",
    "check_mean_of_examples",
    "check_metrics",
    "check_selected",
    "check_task_declarations",
    "check_roles",
    "checked_roles",
    "encode",
    "keep_tokens",
    "mean_of",
    "prediction_shape",
    "roles_inside",
    "target_shape",
]
