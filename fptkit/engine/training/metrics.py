"""fptkit's own metrics by name. Each is computed over all answers of a split at once, by scikit-learn and scipy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fptkit.engine.training.options import AurocOptions, AverageOptions, TopKOptions
from fptkit.errors import UsageError
from fptkit.interfaces import OutputKind
from fptkit.options import Options

Array = np.ndarray[Any, Any]


class Collected:
    """A metric of all predictions and targets of a split, which are kept until the end.

    Args:
        function: the metric, of what is kept of predictions and targets.
        keep: what is kept of the predictions of a batch; it may be less than all of them.
        higher_is_better: direction.
        fraction: whether values are between 0 and 1, and shown in percent.
        chance: value of guessing without having learned anything; None if it depends on the data.
    """

    def __init__(
        self,
        function: Callable[[Array, Array], float],
        keep: Callable[[Tensor], Tensor],
        *,
        higher_is_better: bool = True,
        fraction: bool = False,
        chance: float | None = None,
    ) -> None:
        self._function, self._keep = function, keep
        self.higher_is_better, self.fraction, self.chance = higher_is_better, fraction, chance
        self._kept: list[tuple[Tensor, Tensor]] = []

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """See `fptkit.Metric.update`."""
        self._kept.append((self._keep(predictions.detach()).cpu(), targets.detach().cpu()))

    def compute(self) -> float:
        """Return the value; NaN if it is not defined for these targets, such as a correlation with a constant."""
        if not self._kept:
            return math.nan
        predictions, targets = (torch.cat(parts).numpy() for parts in zip(*self._kept, strict=True))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of values that are not defined: they are NaN, or documented
            return float(self._function(predictions, targets))

    def reset(self) -> None:
        """See `fptkit.Metric.reset`."""
        self._kept.clear()

    def to(self, device: torch.device) -> Collected:
        """Return the metric, which is computed on the CPU."""
        return self


def _of_best(function: Callable[[Array, Array], float], **facts: Any) -> Collected:
    """A metric of the most probable class."""
    return Collected(lambda said, right: function(right, said), lambda logits: logits.argmax(-1), **facts)


def f1(options: AverageOptions, *, output: OutputKind) -> Collected:
    """F1, over the classes that occur or were predicted."""
    from sklearn.metrics import f1_score

    return _of_best(lambda y, p: f1_score(y, p, average=options.average, zero_division=0), fraction=True)


def precision(options: AverageOptions, *, output: OutputKind) -> Collected:
    """Precision, over the classes that occur or were predicted; 0 for a class that was never predicted."""
    from sklearn.metrics import precision_score

    return _of_best(lambda y, p: precision_score(y, p, average=options.average, zero_division=0), fraction=True)


def recall(options: AverageOptions, *, output: OutputKind) -> Collected:
    """Recall, over the classes that occur or were predicted; 0 for a class that does not occur."""
    from sklearn.metrics import recall_score

    return _of_best(lambda y, p: recall_score(y, p, average=options.average, zero_division=0), fraction=True)


def balanced_accuracy(options: Options, *, output: OutputKind) -> Collected:
    """The mean over the classes that occur of the share that is found."""
    from sklearn.metrics import balanced_accuracy_score

    return _of_best(balanced_accuracy_score, fraction=True, chance=1 / _classes(output))


def mcc(options: Options, *, output: OutputKind) -> Collected:
    """The Matthews correlation coefficient; 0 if all answers, or all predictions, are one class."""
    from sklearn.metrics import matthews_corrcoef

    return _of_best(matthews_corrcoef, chance=0.0)


def kappa(options: Options, *, output: OutputKind) -> Collected:
    """Cohen's kappa; NaN if all answers and predictions are one class."""
    from sklearn.metrics import cohen_kappa_score

    return _of_best(cohen_kappa_score, chance=0.0)


def auroc(options: AurocOptions, *, output: OutputKind) -> Collected:
    """The area under the ROC curve; NaN if there is one class only.

    For two classes, of the second one. For more, the mean over the classes that occur, each against all others.
    """
    from sklearn.metrics import roc_auc_score

    def function(chances: Array, right: Array) -> float:
        there, counts = np.unique(right, return_counts=True)
        if len(there) < 2:
            return math.nan
        if chances.shape[1] == 2:
            return float(roc_auc_score(right, chances[:, 1]))
        each = [roc_auc_score(right == label, chances[:, label]) for label in there]
        return float(np.average(each, weights=counts if options.average == "weighted" else None))

    return Collected(function, lambda logits: logits.double().softmax(-1), fraction=True, chance=0.5)


def top_k_accuracy(options: TopKOptions, *, output: OutputKind) -> Collected:
    """The share of answers among the k best classes.

    Raises:
        UsageError: there are not more than k classes.
    """
    classes = _classes(output)
    if options.k >= classes:
        raise UsageError(f"metric top_k_accuracy: k is {options.k}, but there are {classes} classes; use a smaller k")
    return Collected(
        lambda best, right: float((best == right[:, None]).any(1).mean()),
        lambda logits: logits.topk(options.k, -1).indices,
        fraction=True,
        chance=options.k / classes,
    )


def _classes(output: OutputKind) -> int:
    return int(getattr(output, "count", 2))


def _of_numbers(function: Callable[[Array, Array], float], **facts: Any) -> Collected:
    """A metric of predicted numbers, one column for each number of an answer."""

    def columns(predictions: Array, targets: Array) -> float:
        width = targets.shape[-1]
        return function(predictions.reshape(-1, width), targets.reshape(-1, width))

    return Collected(columns, lambda predictions: predictions.double(), **facts)


def mae(options: Options, *, output: OutputKind) -> Collected:
    """The mean absolute error over all numbers."""
    return _of_numbers(lambda p, y: float(np.abs(p - y).mean()), higher_is_better=False)


def rmse(options: Options, *, output: OutputKind) -> Collected:
    """The root of the mean squared error over all numbers."""
    return _of_numbers(lambda p, y: float(np.square(p - y).mean() ** 0.5), higher_is_better=False)


def r2(options: Options, *, output: OutputKind) -> Collected:
    """The share of the variance that is explained, the mean over the numbers of an answer."""
    from sklearn.metrics import r2_score

    return _of_numbers(lambda p, y: r2_score(y, p) if len(y) > 1 else math.nan, chance=0.0)


def pearson(options: Options, *, output: OutputKind) -> Collected:
    """Pearson's correlation, the mean over the numbers of an answer; NaN if one of them is constant."""
    from scipy.stats import pearsonr

    return _of_numbers(_mean_of_columns(lambda p, y: pearsonr(p, y).statistic), chance=0.0)


def spearman(options: Options, *, output: OutputKind) -> Collected:
    """Spearman's correlation of ranks, the mean over the numbers of an answer; NaN if one of them is constant."""
    from scipy.stats import spearmanr

    return _of_numbers(_mean_of_columns(lambda p, y: spearmanr(p, y).statistic), chance=0.0)


def _mean_of_columns(function: Callable[[Array, Array], Any]) -> Callable[[Array, Array], float]:
    def mean(predictions: Array, targets: Array) -> float:
        if len(targets) < 2:
            return math.nan
        return float(np.mean([function(*pair) for pair in zip(predictions.T, targets.T, strict=True)]))

    return mean
