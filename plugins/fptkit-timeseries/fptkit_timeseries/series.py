"""Labelled series in memory, and their scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptkit.tasks.reading.scaling import moments as relative_moments
from fptkit.tasks.series.values import Series


@dataclass(frozen=True)
class LabelledSeries:
    """Series with class numbers.

    Args:
        series: one array (T, C) per series.
        labels: (N,) class of each series.
    """

    series: tuple[Series, ...]
    labels: NDArray[np.int64]

    def choose(self, rows: NDArray[np.int64]) -> LabelledSeries:
        """Return the series of these rows, in this order."""
        return LabelledSeries(tuple(self.series[row] for row in rows), self.labels[rows])


def scale(deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return divisors for scaling: the standard deviation, or 1 where it is 0."""
    chosen: NDArray[np.float64] = np.where(deviation > 0, deviation, 1.0)
    return chosen


def moments(values: Series, axis: int | None = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the known values; 0 and 0 if none is known.

    The deviation is exactly 0 if the values are equal up to rounding, whatever their unit.
    """
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=axis, keepdims=True), 1)
    mean = np.where(known, values, 0).sum(axis=axis, keepdims=True) / count
    variance = np.where(known, (values - mean) ** 2, 0).sum(axis=axis, keepdims=True) / count
    constant = relative_moments(values, axis).constant
    return mean, np.where(constant, 0.0, np.sqrt(variance))


def channel_counts(series: Sequence[Series]) -> set[int]:
    """Return the different numbers of channels of the series."""
    return {each.shape[1] for each in series}
