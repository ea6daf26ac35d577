"""Series in memory, and operations on them before they become examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fptkit.tasks.reading import scaling

Series: TypeAlias = NDArray[np.float64]
"""(T, C) values of T steps and C channels; NaN for missing ones."""


@dataclass(frozen=True)
class SeriesFile:
    """Content of a file of series.

    Args:
        series: one array (T, C) per series; C is the same for all.
        labels: class of each series, as written; empty if the file has none.
        lines: line number of each series, for messages; empty if the file has no lines.
        classes: classes that the file declares, in its order; empty if it declares none.
    """

    series: tuple[Series, ...]
    labels: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()


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


def without_missing_end(series: Series) -> Series:
    """Cut trailing steps in which all channels are missing; archives pad short series with missing values."""
    known = np.flatnonzero(~np.isnan(series).all(1))
    return series[: known[-1] + 1] if len(known) else series[:0]


def interpolate(series: Series) -> Series:
    """Fill missing values linearly between known neighbours, and at the ends with the nearest known value.

    A channel without known values becomes 0.
    """
    if not np.isnan(series).any():
        return series
    filled = series.copy()
    steps = np.arange(len(series))
    for channel in filled.T:  # a view, written in place
        known = ~np.isnan(channel)
        channel[~known] = np.interp(steps[~known], steps[known], channel[known]) if known.any() else 0
    return filled


def carry_forward(series: Series) -> Series:
    """Fill missing values with the last known one, since a forecast must not see later ones; 0 before the first."""
    known = ~np.isnan(series)
    last = np.maximum.accumulate(np.where(known, np.arange(len(series))[:, None], -1), axis=0)
    carried = np.take_along_axis(series, np.maximum(last, 0), axis=0)
    filled: Series = np.where(last < 0, 0.0, carried)
    return filled


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
    constant = scaling.moments(values, axis).constant
    return mean, np.where(constant, 0.0, np.sqrt(variance))


def channel_counts(series: Sequence[Series]) -> set[int]:
    """Return the different numbers of channels of the series."""
    return {each.shape[1] for each in series}
