"""A question with data: splits, loss, metrics."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from fptkit.interfaces.batch import Batch
from fptkit.interfaces.kinds import Classes, InputKind, Values
from fptkit.interfaces.metrics import GivenMetrics, Metrics

if TYPE_CHECKING:
    import numpy as np


@runtime_checkable
class Split(Protocol):
    """One split of a task: examples that can be batched.

    A split that changes its examples at random may have a method ``plain()`` besides: the same examples as they are
    stored, which is what the model is evaluated on.

    Attributes:
        size: number of examples, or None for an endless one, whose examples are drawn anew for each batch.
        token_counts: (size,) int tokens of each example where they differ, else None; batches are grouped by it.
    """

    size: int | None
    token_counts: np.ndarray | None

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Make a batch, on the CPU.

        Args:
            indices: which examples; for an endless split only their number counts.
            generator: the only source of chance (drawn examples, augmentation). The same state gives the same batch.
        """
        ...


@dataclass(frozen=True)
class SampledEvaluation:
    """Evaluation on some batches instead of the whole split, as the protocol ``fpt2021`` has it.

    Whole batches are drawn without repetition as long as the split lasts, anew for each evaluation; an incomplete last
    batch is never used. From an endless split, examples are drawn.

    Args:
        batches: batches of one evaluation.
        size_factor: examples of a batch, as a multiple of ``train.batch_size``.
        accuracy_factor: factor on the accuracies that are reported, `fptkit.Accuracy` or those of torchmetrics.
    """

    batches: int = 25
    size_factor: int = 1
    accuracy_factor: float = 1.0


class Task:
    """A question with data: what goes in, what comes out, the splits, the loss and the metrics.

    Subclasses set the attributes in ``__init__`` and implement `split`. The defaults of `loss` and `metrics` follow
    from ``output``: cross-entropy and accuracy for `Classes`, mean squared error for `Values`; a task with another
    answer overrides both and sets ``best_metric``.

    Attributes:
        input: kind of the input tokens.
        output: kind of the answer.
        max_tokens: T, the longest example in raw tokens; with what the encoder makes of it, it sizes position tables.
            For `Grid` and `Mixed` that of ``input``.
        source: the source that was taken, e.g. ``"tape"`` or ``"generated"``.
        stand_in: true when ``source`` is not the first the recipe lists: its figures are not the named data's.
        protocol: name of the way data are prepared and scored.
        sampled_evaluation: set where the protocol evaluates on some batches only; None evaluates splits whole.
        test_splits: names of the splits opened once, at the end.
        best_metric: validation metric that chooses the best step; None takes the one that follows from ``output``:
            accuracy for `Classes`, mean squared error for `Values`.
        higher_is_better: direction of ``best_metric``, for a metric that does not know its own. Metrics of fptkit and
            most of torchmetrics do, and of ``loss`` less is better: leave it None. Contradicting them is an error.
        majority_accuracy: for each split, the accuracy of always answering with the commonest class of ``train``. Shown
            beside accuracies; may be left empty.
        notes: lines the run header shows, such as how the stand-in was made.
    """

    input: InputKind
    output: Classes | Values
    max_tokens: int
    source: str = "generated"
    stand_in: bool = False
    protocol: str = "clean"
    sampled_evaluation: SampledEvaluation | None = None
    test_splits: tuple[str, ...] = ("test",)
    best_metric: str | None = None
    higher_is_better: bool | None = None
    majority_accuracy: Mapping[str, float] = {}
    notes: tuple[str, ...] = ()

    def selection(self) -> tuple[str, bool]:
        """The validation metric that chooses the best step, and whether more of it is better.

        Raises:
            PluginError: there is no such metric, or its direction is not known, or metric and task contradict.
        """
        name, metrics = self.best_metric or self.output.best_metric, Metrics.of(self)
        return name, metrics.direction(name, self.higher_is_better)

    def split(self, name: str) -> Split:
        """The split called ``train``, ``validation`` or one of ``test_splits``."""
        raise NotImplementedError(f"{type(self).__name__} does not implement split({name!r})")

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        """Whether the protocol passes over the batch of these examples, in training and in sampled evaluation."""
        return False

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean loss of a batch, a scalar.

        Shapes: logits = targets' shape + (K,) for `Classes`; targets' shape for `Values`.
        """
        return self.output.loss(logits, batch.targets)

    def metrics(self) -> GivenMetrics:
        """Fresh metrics by name, updated with (logits, targets) of `loss`; those of `Classes` are flattened over
        answers. Either a mapping, whose metrics may be of torchmetrics, or a ``torchmetrics.MetricCollection``.

        A task that overrides this and has imported torchmetrics gets a ``MetricCollection`` from ``super().metrics()``,
        so that it can be extended by metrics of torchmetrics in either form.
        """
        extended = type(self).metrics is not Task.metrics and "torchmetrics" in sys.modules
        return _collection_of(self.output) if extended else self.output.metrics()


def _collection_of(output: Classes | Values) -> GivenMetrics:
    """The metrics of ``output`` as torchmetrics has them."""
    from torchmetrics import MeanSquaredError, MetricCollection
    from torchmetrics.classification import MulticlassAccuracy

    if isinstance(output, Classes):
        return MetricCollection({"accuracy": MulticlassAccuracy(output.count, average="micro")})
    return MetricCollection({"mean_squared_error": MeanSquaredError()})
