"""Series in memory, before they become examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Series: TypeAlias = NDArray[np.float64]
"""(T, C) values of T steps and C channels; NaN where one is missing."""


@dataclass(frozen=True)
class SeriesFile:
    """What a file of series holds.

    Args:
        series: one array (T, C) each; C is the same for all.
        labels: the class of each as written; empty where the file has none.
        lines: line of each in the file, for messages; empty where it has no lines.
        classes: the classes the file declares, in its order; empty where it declares none.
    """

    series: tuple[Series, ...]
    labels: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledSeries:
    """Series with the number of their class.

    Args:
        series: one array (T, C) each.
        labels: (N,) class of each.
    """

    series: tuple[Series, ...]
    labels: NDArray[np.int64]

    def choose(self, rows: NDArray[np.int64]) -> LabelledSeries:
        """Some of them, in the order given."""
        return LabelledSeries(tuple(self.series[row] for row in rows), self.labels[rows])


def without_missing_end(series: Series) -> Series:
    """The steps up to the last one at which any channel is known; archives fill short series up with missing values."""
    known = np.flatnonzero(~np.isnan(series).all(1))
    return series[: known[-1] + 1] if len(known) else series[:0]


def interpolate(series: Series) -> Series:
    """Missing values on the line between their known neighbours, beyond these as the nearest; a channel that is not
    known anywhere becomes 0."""
    if not np.isnan(series).any():
        return series
    filled = series.copy()
    steps = np.arange(len(series))
    for channel in filled.T:  # a view, written in place
        known = ~np.isnan(channel)
        channel[~known] = np.interp(steps[~known], steps[known], channel[known]) if known.any() else 0
    return filled


def carry_forward(series: Series) -> Series:
    """Missing values as the last known one: a forecast must not see what came later. Before the first known one: 0."""
    known = ~np.isnan(series)
    last = np.maximum.accumulate(np.where(known, np.arange(len(series))[:, None], -1), axis=0)
    carried = np.take_along_axis(series, np.maximum(last, 0), axis=0)
    filled: Series = np.where(last < 0, 0.0, carried)
    return filled


def scale(deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to divide by: the standard deviation, and 1 where values are all the same or none is known."""
    usable = np.isfinite(deviation) & (deviation > 1e-8)
    chosen: NDArray[np.float64] = np.where(usable, deviation, 1.0)
    return chosen


def moments(values: Series, axis: int | None = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the known values, 0 and 0 where none is known."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=axis, keepdims=True), 1)
    mean = np.where(known, values, 0).sum(axis=axis, keepdims=True) / count
    variance = np.where(known, (values - mean) ** 2, 0).sum(axis=axis, keepdims=True) / count
    return mean, np.sqrt(variance)


def channel_counts(series: Sequence[Series]) -> set[int]:
    """The numbers of channels that occur."""
    return {each.shape[1] for each in series}
