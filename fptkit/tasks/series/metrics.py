"""Metrics of forecasts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fptkit.errors import ShapeError


class ForecastError:
    """The mean absolute error of one channel over all steps of a forecast.

    Args:
        place: place of the channel among those that are forecast.
        count: number of channels that are forecast.
        deviation: what one unit of the model's scale is in the unit of the data.
    """

    higher_is_better = False

    def __init__(self, place: int, count: int, deviation: float) -> None:
        self._place, self._step, self._deviation = place, count, deviation
        self._sum = torch.zeros((), dtype=torch.float64)
        self._count = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch. Shapes: predictions and targets (B, horizon * count).

        Raises:
            ShapeError: the shapes differ.
        """
        if predictions.shape != targets.shape:
            raise ShapeError(
                f"ForecastError: predictions are {tuple(predictions.shape)}, targets {tuple(targets.shape)}"
            )
        chosen = slice(self._place, None, self._step)
        errors = (predictions[:, chosen].double() - targets[:, chosen].double()).abs()
        self._sum += errors.sum().to(self._sum.device)
        self._count += errors.numel()

    def compute(self) -> float:
        """Return the mean absolute error; NaN without any batches."""
        return float(self._sum) * self._deviation / self._count if self._count else math.nan

    def reset(self) -> None:
        """See `fptkit.Metric.reset`."""
        self._sum.zero_()
        self._count = 0

    def to(self, device: torch.device) -> ForecastError:
        """See `fptkit.Metric.to`."""
        self._sum = self._sum.to(device)
        return self
