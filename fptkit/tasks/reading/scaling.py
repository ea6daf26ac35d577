"""Mean and standard deviation, and what counts as constant: relative to the size of the numbers, never absolute.

Data in volts and in nanovolts must give the same result, and a constant far from zero has a deviation that is nothing
but rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of known values.

    Shapes: both have the shape of the values with the reduced axis of length 1.

    Args:
        mean: the mean; 0 if no value is known.
        deviation: the standard deviation; exactly 0 if the known values are equal up to rounding, or none is known.
    """

    mean: Numbers
    deviation: Numbers

    @property
    def divisor(self) -> Numbers:
        """The deviation, or 1 where it is 0: values are divided by it."""
        return np.where(self.deviation > 0, self.deviation, 1.0)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Where the known values are equal up to rounding, or none is known."""
        return self.deviation == 0


def moments(values: NDArray[np.floating], axis: int | None = 0) -> Moments:
    """Mean and standard deviation of the values that are known (not NaN), in float64.

    Values count as equal if they are, or if their deviation is below the rounding error of the numbers: machine
    epsilon of the array's type, times the largest magnitude, times the square root of their number.

    Args:
        values: finite numbers, NaN for missing ones.
        axis: axis to reduce; None for all.

    Source: the bound is that of scikit-learn's ``_is_constant_feature``, without its absolute part.
    """
    epsilon = np.finfo(values.dtype).eps
    values = values.astype(np.float64)
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=axis, keepdims=True), 1)
    largest = np.abs(np.where(known, values, 0)).max(axis=axis, keepdims=True, initial=0)
    # Scaled to at most 1: squares of very large or small numbers would overflow or vanish.
    unit = np.where(largest > 0, largest, 1.0)
    scaled = np.where(known, values / unit, 0)
    mean = scaled.sum(axis=axis, keepdims=True) / count
    deviation = np.sqrt(np.where(known, (scaled - mean) ** 2, 0).sum(axis=axis, keepdims=True) / count)
    highest = np.where(known, values, -np.inf).max(axis=axis, keepdims=True, initial=-np.inf)
    lowest = np.where(known, values, np.inf).min(axis=axis, keepdims=True, initial=np.inf)
    constant = (highest <= lowest) | (deviation <= epsilon * np.sqrt(count))
    return Moments(mean * unit, np.where(constant, 0.0, deviation * unit))


def moments_in_parts(parts: Callable[[], Iterable[NDArray[Any]]]) -> Moments:
    """As `moments` of the concatenated parts along the first axis, which need not be in memory together.

    Shapes: parts (n, F) of one type, without NaN -> moments (1, F).

    Args:
        parts: gives the parts, at least one value in all; it is called three times.
    """
    lowest, highest, count, epsilon = np.inf, -np.inf, 0, 0.0
    for part in parts():
        if len(part):
            lowest = np.minimum(lowest, part.min(0).astype(np.float64))
            highest = np.maximum(highest, part.max(0).astype(np.float64))
            count += len(part)
            epsilon = float(np.finfo(part.dtype if part.dtype.kind == "f" else np.float64).eps)
    largest = np.maximum(np.abs(lowest), np.abs(highest))
    unit = np.where(largest > 0, largest, 1.0)
    mean = sum((part.astype(np.float64) / unit).sum(0) for part in parts()) / count
    variance = sum(((part.astype(np.float64) / unit - mean) ** 2).sum(0) for part in parts()) / count
    deviation = np.sqrt(variance)
    constant = (highest <= lowest) | (deviation <= epsilon * np.sqrt(count))
    return Moments((mean * unit)[None], np.where(constant, 0.0, deviation * unit)[None])


def standardise(values: Numbers, using: Moments) -> Numbers:
    """Centre and scale values; constant ones become 0, and NaN stays.

    Shapes: values of any shape that broadcasts with the moments.
    """
    scaled: Numbers = (values - using.mean) / using.divisor
    return np.where(using.constant & ~np.isnan(values), 0.0, scaled)
