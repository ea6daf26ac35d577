"""Tasks: data, splits, loss and metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fptkit.interfaces.answer_kind import AnswerKind
from fptkit.interfaces.batch import Batch
from fptkit.interfaces.kinds import Classes, Values
from fptkit.interfaces.metrics import GivenMetrics, Metric, Metrics
from fptkit.interfaces.mixed import InputKind
from fptkit.interfaces.preparation import Preparation
from fptkit.interfaces.shown import Shown
from fptkit.interfaces.token_classes import TokenClasses
from fptkit.sources.identity import DataIdentity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@runtime_checkable
class Split(Protocol):
    """One split of a task: examples that can be batched.

    A split with random augmentation may also have a method ``plain()``, which returns the same split without it, for
    evaluation.

    Attributes:
        size: number of examples, or None for an endless split, which generates new examples for each batch.
        token_counts: (size,) int tokens of each example, by which batches are grouped; None if all are equal.

    Example:
        >>> import fptkit, torch
        >>> split: fptkit.Split = fptkit.ArraySplit(torch.rand(10, 4, 2), torch.arange(10) % 2, vectors=True)
        >>> split.size, split.token_counts, isinstance(split, fptkit.Split)
        (10, None, True)
    """

    # Properties, so that type checkers accept attributes that are narrower, such as ``size: int``, or cannot be set.
    @property
    def size(self) -> int | None: ...

    @property
    def token_counts(self) -> NDArray[np.integer[Any]] | None: ...

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Make a batch, on the CPU. Shapes: those of `fptkit.Batch`, with B the number of indices.

        Args:
            indices: indices of the examples; an endless split only uses their number.
            generator: the only source of randomness (generated examples, augmentation). The same state must give the
                same batch.
        """
        ...


@dataclass(frozen=True)
class SampledEvaluation:
    """Evaluation on some batches instead of the complete split, as in the protocol ``fpt2021``.

    The split is cut into batches in random order; when it is exhausted, it is cut anew. An endless split generates new
    examples.

    Args:
        batches: number of batches per evaluation.
        size_factor: examples per batch, as a multiple of ``train.batch_size``.
        accuracy_factor: factor on reported accuracies, both `fptkit.Accuracy` and those of torchmetrics.
        continued: true: an evaluation continues where the one before it ended, so that no example comes again before
            all had their turn; false: each evaluation cuts the split anew.
        incomplete: true: an incomplete last batch is used like any other, and metrics are the mean over batches,
            whatever their sizes; false: it is left out.

    Example:
        >>> import fptkit
        >>> fptkit.SampledEvaluation(batches=25, size_factor=2).accuracy_factor
        1.0
    """

    batches: int = 25
    size_factor: int = 1
    accuracy_factor: float = 1.0
    continued: bool = False
    incomplete: bool = False


class Task:
    """Base class of tasks: inputs, answers, splits, loss and metrics.

    Subclasses set the attributes in ``__init__`` and implement `split`. By default `loss` and `metrics` follow from
    ``output``: cross-entropy and accuracy for `Classes`, mean squared error for `Values`, and so on for every kind of
    answers. A task may override both, and then sets ``best_metric``; one with answers of another kind brings a subclass
    of `AnswerKind`. Answers that are not known, such as tokens without a label, are left out.

    Attributes:
        input: kind of the inputs.
        output: kind of the answers.
        max_tokens: T, raw tokens of the longest example, from which position tables get their size. For `Grid` and
            `Mixed` set it to ``input.max_tokens``.
        source: the source in use, e.g. ``"tape"`` or ``"generated"``.
        stand_in: true if ``source`` is a fallback, not the first source in the recipe: results are not those of the
            named data.
        protocol: name of the protocol by which data are prepared and scored.
        sampled_evaluation: set if the protocol evaluates on some batches only; None: splits are evaluated in full.
        complete_batches: true if the protocol leaves out an epoch's incomplete last batch in training.
        precision: precision that the protocol prescribes, ``float32``, ``bfloat16``, ``int8`` or ``int8_storage``, for
            recipes with ``precision: auto``; None: the processor decides.
        test_splits: names of the test splits, evaluated once, at the end.
        best_metric: validation metric that chooses the best step; None: that of the kind of answers, such as accuracy
            for `Classes` and mean squared error for `Values`.
        higher_is_better: direction of ``best_metric``, for metrics that do not declare theirs. Leave it None for the
            loss and for metrics of fptkit and most of torchmetrics; to contradict them is an error.
        majority_accuracy: for each split, the accuracy of always answering with the most frequent class of ``train``,
            shown with accuracies; may be empty.
        chance_accuracy: accuracy of guessing without having learned anything, in [0, 1], shown with accuracies. Set it
            if the inputs show a part of the answers; None: that of the kind of answers, such as one over the number of
            classes.
        notes: lines for the run header, such as a description of simulated data.
        warnings: what is probably wrong with the data; shown as warnings, and kept in the summary.
        default_encoder: name of the encoder for recipes that name none; empty: the default of the input kind.
        preparation: what the task learned from the training data and needs to prepare new inputs; None if it cannot.
        content: digests of data that are not files, by name, such as the fingerprint of a data set that a library
            loads. Files are digested by fptkit, see ``TaskSpec.files``.
        data: identity of the data by content; set by fptkit when the task is built.
        added_metrics: makes the metrics that the recipe adds, by name; set by fptkit when the task is built.

    Example:
        >>> import fptkit, torch
        >>> class Signs(fptkit.Task):
        ...     input, output, max_tokens = fptkit.Vectors(1), fptkit.Classes(2), 3
        ...     def split(self, name):
        ...         inputs = torch.randn(20, 3, 1, generator=torch.Generator().manual_seed(len(name)))
        ...         return fptkit.ArraySplit(inputs, (inputs.sum((1, 2)) > 0).long(), vectors=True)
        >>> Signs().chance(), Signs().selection()
        (0.5, ('accuracy', True))
    """

    input: InputKind
    output: AnswerKind
    max_tokens: int
    source: str = "generated"
    stand_in: bool = False
    protocol: str = "clean"
    sampled_evaluation: SampledEvaluation | None = None
    complete_batches: bool = False
    precision: str | None = None
    test_splits: tuple[str, ...] = ("test",)
    best_metric: str | None = None
    higher_is_better: bool | None = None
    majority_accuracy: Mapping[str, float] = {}
    chance_accuracy: float | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    default_encoder: str = ""
    preparation: Preparation | None = None
    content: Mapping[str, str] = {}
    data: DataIdentity | None = None
    added_metrics: Mapping[str, Callable[[], Metric]] = {}

    def selection(self) -> tuple[str, bool]:
        """Return the validation metric that chooses the best step, and whether higher is better.

        Raises:
            PluginError: there is no such metric, its direction is unknown, or metric and task contradict each other.
        """
        name, metrics = self.best_metric or self.output.best_metric, Metrics.of(self)
        return name, metrics.direction(name, self.higher_is_better)

    def chance(self) -> float | None:
        """Return ``chance_accuracy``, or that of the kind of answers; None if there is none, as for numbers."""
        return self.output.chance() if self.chance_accuracy is None else self.chance_accuracy

    def split(self, name: str) -> Split:
        """Return the split ``train``, ``validation`` or one of ``test_splits``. Subclasses implement it.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement split({name!r})")

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        """Return whether the protocol skips the batch of these examples, in training and in sampled evaluation."""
        return False

    def show(self, split: str, index: int) -> Shown | None:
        """Return an example in a form for people, for the report of a run; None (the default): its tokens are shown.

        It is called for a few test examples, at the end of a run.

        Args:
            split: name of the split.
            index: index of the example in the split.
        """
        return None

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, a scalar.

        Shapes: logits have the targets' shape + (K,) for `Classes`, the targets' shape for `Values`.
        """
        return self.output.loss(logits, batch.targets)

    def metrics(self) -> GivenMetrics:
        """Return new metrics by name: a mapping, also of torchmetrics' metrics, or a ``torchmetrics.MetricCollection``.

        They are updated with the logits and targets of `loss`, for `Classes` flattened to one row per answer.

        If a task overrides this and has imported torchmetrics, ``super().metrics()`` is a ``MetricCollection``, which
        can be extended by metrics of torchmetrics.
        """
        extended = type(self).metrics is not Task.metrics and "torchmetrics" in sys.modules
        return _collection_of(self.output) if extended else self.output.metrics()


def _collection_of(output: AnswerKind) -> GivenMetrics:
    """Return the default metrics of ``output`` as metrics of torchmetrics; for other kinds, as they are."""
    from torchmetrics import MeanSquaredError, MetricCollection
    from torchmetrics.classification import MulticlassAccuracy

    if isinstance(output, (Classes, TokenClasses)) and type(output) in (Classes, TokenClasses):
        return MetricCollection({"accuracy": MulticlassAccuracy(output.count, average="micro")})
    return MetricCollection({"mean_squared_error": MeanSquaredError()}) if type(output) is Values else output.metrics()
