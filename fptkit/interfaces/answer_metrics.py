"""Metrics of single kinds of answers: several labels, next symbols, orders."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces.metrics import Accuracy


class LabelsF1:
    """Micro-averaged F1 of several labels at once: the harmonic mean of precision and recall over all labels.

    Accuracy counts the labels that are rightly absent, too, and is high even if no label is ever found.
    """

    higher_is_better = True
    fraction = True

    def __init__(self) -> None:
        self._counts = torch.zeros(3, dtype=torch.int64)  # found, predicted, present

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch. Shapes: predictions (N, 2), targets (N,) with 1 for a label that is present.

        Raises:
            ShapeError: the shapes do not fit.
        """
        if predictions.shape != (*targets.shape, 2):
            raise ShapeError(
                f"LabelsF1: predictions {tuple(predictions.shape)} do not fit targets {tuple(targets.shape)}"
            )
        said, present = predictions.argmax(-1) == 1, targets == 1
        self._counts += torch.stack([(said & present).sum(), said.sum(), present.sum()])

    def compute(self) -> float:
        """Return F1; NaN if no label is present and none was predicted."""
        found, predicted, present = self._counts.tolist()
        return 2 * found / (predicted + present) if predicted + present else float("nan")

    def reset(self) -> None:
        """See `fptkit.Metric.reset`."""
        self._counts.zero_()

    def to(self, device: torch.device) -> LabelsF1:
        """See `fptkit.Metric.to`."""
        self._counts = self._counts.to(device)
        return self


class PairAccuracy(Accuracy):
    """The fraction of pairs of items in the right order, of pairs that differ in relevance. Equal scores count half.

    With two relevances this is the area under the ROC curve within each example.

    Source: the concordance of Kendall 1938, A new measure of rank correlation, as (tau + 1) / 2.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sums = torch.zeros(2, dtype=torch.float64)  # pairs in the right order, pairs

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch. Shapes: predictions and targets (B, items); NaN for items that do not count.

        Raises:
            ShapeError: the shapes differ.
        """
        if predictions.shape != targets.shape:
            raise ShapeError(
                f"PairAccuracy: predictions are {tuple(predictions.shape)}, targets {tuple(targets.shape)}"
            )
        before = targets[:, :, None] > targets[:, None, :]
        distance = predictions[:, :, None] - predictions[:, None, :]
        right = (distance > 0).double() + 0.5 * (distance == 0).double()
        self._sums += torch.stack([right[before].sum(), before.sum().double()])

    def compute(self) -> float:
        """Return the fraction; NaN without any pair."""
        right, pairs = self._sums.tolist()
        return right / pairs if pairs else float("nan")

    def reset(self) -> None:
        """See `fptkit.Metric.reset`."""
        self._sums.zero_()

    def to(self, device: torch.device) -> PairAccuracy:
        """See `fptkit.Metric.to`."""
        self._sums = self._sums.to(device)
        return self


class BitsPerSymbol:
    """The mean of ``-log2`` of the probability of the symbol that came: how many bits a code by the model would need.

    Symbols count the same, whatever the length of their sequence, unlike in the loss. Two to the power of it is the
    perplexity.
    """

    higher_is_better = False

    def __init__(self) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64)  # bits, symbols

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch. Shapes: predictions (N, K) logits, targets (N,).

        Raises:
            ShapeError: the shapes do not fit.
        """
        if predictions.ndim != 2 or predictions.shape[:1] != targets.shape:
            raise ShapeError(
                f"BitsPerSymbol: predictions {tuple(predictions.shape)} do not fit targets {tuple(targets.shape)}"
            )
        nats = nn.functional.cross_entropy(predictions.double(), targets, reduction="sum")
        self._sums += torch.stack([nats / math.log(2), torch.full_like(nats, len(targets))])

    def compute(self) -> float:
        """Return the mean; NaN without any symbol."""
        bits, symbols = self._sums.tolist()
        return bits / symbols if symbols else float("nan")

    def reset(self) -> None:
        """See `fptkit.Metric.reset`."""
        self._sums.zero_()

    def to(self, device: torch.device) -> BitsPerSymbol:
        """See `fptkit.Metric.to`."""
        self._sums = self._sums.to(device)
        return self
