"""Series in memory, and operations on them before they become examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Series: TypeAlias = NDArray[np.float64]
"""(T, C) values of T steps and C channels; NaN for missing ones."""


@dataclass(frozen=True)
class SeriesFile:
    """Content of a file of series that has no columns.

    Args:
        series: one array (T, C) per series; C is the same for all.
        labels: class or number of each series, as written; empty if the file has none.
        lines: line number of each series, for messages; empty if the file has no lines.
        classes: classes that the file declares, in its order; empty if it declares none.
    """

    series: tuple[Series, ...]
    labels: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Read:
    """Series that were read, in any format.

    Args:
        series: one array (T, C) per series; C is the same for all.
        names: what each is called in messages.
        channels: names of the channels.
        labels: cells of each target, one per series; empty if the file has none.
        columns: further cells, one per series, by which splits may be made.
        classes: classes that the file declares, in its order.
        notes: what the run header should say.
        step_s: seconds from one step to the next, if the file has dates; else None.
    """

    series: Sequence[Series]
    names: Sequence[str]
    channels: tuple[str, ...]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    step_s: float | None = None


def without_missing_end(series: Series) -> Series:
    """Cut trailing steps in which all channels are missing; archives pad short series with missing values."""
    if not np.isnan(series[-1:]).all():
        return series
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
