"""What the parts of a cross-modal model promise each other.

Shapes use one alphabet: B batch, T tokens, F features of a raw token, D width of the backbone, R tokens read out,
K classes. A batch is padded on the right only, so its lengths say everything about its padding; ``Batch.mask`` is made
from them where something wants a mask.
"""

from fptkit.interfaces.batch import Batch, Inputs
from fptkit.interfaces.checks import check_batch, check_best_metric, check_selected, check_task_declarations
from fptkit.interfaces.kinds import KIND_NAMES, Classes, Grid, InputKind, Mixed, Symbols, Values, Vectors
from fptkit.interfaces.metrics import Accuracy, GivenMetrics, MeanSquaredError, Metric, Metrics
from fptkit.interfaces.modules import Backbone, Encoder, ParameterRole, Role, encode, keep_tokens
from fptkit.interfaces.task import SampledEvaluation, Split, Task

__all__ = [
    "Accuracy",
    "Backbone",
    "Batch",
    "Classes",
    "Encoder",
    "GivenMetrics",
    "Grid",
    "InputKind",
    "Inputs",
    "KIND_NAMES",
    "MeanSquaredError",
    "Metric",
    "Metrics",
    "Mixed",
    "ParameterRole",
    "Role",
    "SampledEvaluation",
    "Split",
    "Symbols",
    "Task",
    "Values",
    "Vectors",
    "check_batch",
    "check_best_metric",
    "check_selected",
    "check_task_declarations",
    "encode",
    "keep_tokens",
]
