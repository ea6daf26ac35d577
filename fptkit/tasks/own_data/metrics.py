"""Metrics of classes that differ in frequency, and of numbers in the unit of the data."""

from __future__ import annotations

import torch
from torch import Tensor

from fptkit.errors import ShapeError


class MacroF1:
    """The mean over classes of F1, of the classes that occur or were predicted: rare classes count as much as others.

    Args:
        count: K, number of classes.
    """

    higher_is_better = True
    fraction = True

    def __init__(self, count: int) -> None:
        self._counts = torch.zeros(3, count, dtype=torch.int64)  # found, predicted, present

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch. Shapes: predictions (N, K), targets (N,).

        Raises:
            ShapeError: the shapes do not fit.
        """
        if predictions.shape != (*targets.shape, self._counts.shape[1]):
            raise ShapeError(
                f"MacroF1: predictions {tuple(predictions.shape)} do not fit targets {tuple(targets.shape)}"
            )
        said = predictions.argmax(-1)
        for row, values in enumerate((said[said == targets], said, targets)):
            self._counts[row] += torch.bincount(values, minlength=self._counts.shape[1])

    def compute(self) -> float:
        """Return the mean F1; NaN without any answers."""
        found, predicted, present = self._counts.double()
        known = predicted + present > 0
        return float((2 * found[known] / (predicted + present)[known]).mean()) if bool(known.any()) else float("nan")

    def reset(self) -> None:
        """See `fptkit.Metric.reset`."""
        self._counts.zero_()

    def to(self, device: torch.device) -> MacroF1:
        """See `fptkit.Metric.to`."""
        self._counts = self._counts.to(device)
        return self


class AbsoluteError:
    """The mean absolute error of some of the numbers, in the unit of the data.

    Args:
        numbers: which of them: one target, or the steps of one channel of a forecast.
        deviation: what one unit of the model's scale is in the unit of the data.
    """

    higher_is_better = False

    def __init__(self, numbers: slice, deviation: float) -> None:
        self._numbers, self._deviation = numbers, deviation
        self._sum = torch.zeros((), dtype=torch.float64)
        self._count = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch. Shapes: predictions and targets (B, width).

        Raises:
            ShapeError: the shapes differ.
        """
        if predictions.shape != targets.shape:
            raise ShapeError(
                f"AbsoluteError: predictions are {tuple(predictions.shape)}, targets {tuple(targets.shape)}"
            )
        errors = (predictions[:, self._numbers].double() - targets[:, self._numbers].double()).abs()
        self._sum += errors.sum().to(self._sum.device)
        self._count += errors.numel()

    def compute(self) -> float:
        """Return the mean absolute error; NaN without any batches."""
        return float(self._sum) * self._deviation / self._count if self._count else float("nan")

    def reset(self) -> None:
        """See `fptkit.Metric.reset`."""
        self._sum.zero_()
        self._count = 0

    def to(self, device: torch.device) -> AbsoluteError:
        """See `fptkit.Metric.to`."""
        self._sum = self._sum.to(device)
        return self
