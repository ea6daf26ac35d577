"""Confidence intervals of means over examples."""

from __future__ import annotations

from math import sqrt

from fptkit.engine.assessment.records import Bounds

NORMAL = 1.959963984540054
"""Quantile of the normal distribution for 95 %."""


def wilson(right: float, count: int) -> Bounds | None:
    """Interval of a proportion; None without observations.

    Args:
        right: observations that count as one.
        count: all observations.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    if not count:
        return None
    part, square = right / count, NORMAL**2
    middle = (part + square / (2 * count)) / (1 + square / count)
    half = NORMAL / (1 + square / count) * sqrt(part * (1 - part) / count + square / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def of_mean(mean: float, spread: float, count: int) -> Bounds | None:
    """Interval of a mean of independent observations, by the normal approximation; None for fewer than two.

    Args:
        mean: of the observations.
        spread: sum of their squared distances from it.
        count: their number.
    """
    if count < 2:
        return None
    half = NORMAL * sqrt(max(spread, 0.0) / (count - 1) / count)
    return mean - half, mean + half
