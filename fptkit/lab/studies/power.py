"""The probability that a comparison is decided, and what follows: resolution, and further seeds that are needed.

By quadrature instead of ``scipy.stats.nct``, which is NaN for some strict levels and few pairs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache

import numpy as np  # noqa: TID253 (imported when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

from fptkit.lab.studies.statistics import LEVEL, MINIMUM_PAIRS

Array = NDArray[np.float64]

POWER = 0.8
"""Fraction of studies in which an effect of the size of the resolution is found."""


Critical = Callable[[int, float], tuple[float, float]]
"""A test. For a number of pairs and a level: the smallest |t| that shows a difference, and the smallest distance of the
mean inside the margin that shows equivalence, in standard errors. Infinite if so few pairs never do."""


def critical_t(pairs: int, level: float) -> tuple[float, float]:
    """`Critical` of the paired t-test and of two one-sided t-tests."""
    from scipy.special import stdtrit

    return float(stdtrit(pairs - 1, 1 - level / 2)), float(stdtrit(pairs - 1, 1 - level))


def resolution(
    deviation: float, pairs: int, level: float = LEVEL, power: float = POWER, critical: Critical = critical_t
) -> float | None:
    """Smallest difference that the test finds with this power.

    Args:
        deviation: standard deviation of the differences.
        pairs: number of pairs.
        level: significance level of the test.
        power: fraction of studies that find it, between ``level`` and 1.
        critical: the test.

    Returns:
        The difference; None if there are fewer than three pairs or no deviation, or if so few pairs never find any.
    """
    from scipy.optimize import brentq

    if pairs < MINIMUM_PAIRS or not 0 < deviation < np.inf:
        return None
    if np.isinf(critical(pairs, level)[0]):
        return None

    def lacking(effect: float) -> float:
        return probability_decided(effect, pairs, 0.0, level, critical) - power

    high = 1.0
    while lacking(high) < 0:
        high *= 2
    return deviation * float(brentq(lacking, 0.0, high))


def further_seeds(
    mean: float,
    deviation: float,
    pairs: int,
    margin: float | None,
    level: float = LEVEL,
    limit: int = 1000,
    critical: Critical = critical_t,
) -> int | None:
    """Number of further seeds with which the comparison is decided in 80 % of studies, if it is as observed.

    Decided means that a difference is found, or else that it is within the margin. If all differences are equal, it is
    the number after which the exact tests of equal differences decide.

    Args:
        mean, deviation: mean and standard deviation of the differences, taken as true.
        pairs: number of pairs so far.
        margin: differences below this count as the same; None if there is none.
        level: significance level of either test.
        limit: largest answer.
        critical: the tests.

    Returns:
        The number; None if it is above the limit, or if no number of seeds decides.
    """
    if not 0 <= deviation < np.inf or not np.isfinite(mean):
        return None
    more = range(max(1, MINIMUM_PAIRS - pairs), limit + 1)
    if deviation == 0:
        return next((further for further in more if _equal_decided(mean, pairs + further, margin, level)), None)
    effect, bound = abs(mean) / deviation, (margin or 0.0) / deviation

    def decided(further: int) -> float:
        return probability_decided(effect, pairs + further, bound, level, critical)

    found = bisect_left(more, POWER, key=decided)
    return more[found] if found < len(more) else None


def _equal_decided(mean: float, pairs: int, margin: float | None, level: float) -> bool:
    """Whether so many equal differences are decided, by the exact tests that are used for them."""
    from fptkit.lab.studies.statistics import equivalence

    different = mean != 0 and 2.0 ** (1 - pairs) < level
    return different or (margin is not None and float(equivalence(mean, 0.0, pairs, margin)) < level)


def probability_decided(
    effect: float, pairs: int, margin: float, level: float, critical: Critical = critical_t
) -> float:
    """Probability that the test finds a difference, or else equivalence.

    The mean is normal and independent of the sample's deviation, over whose quantiles the probability is averaged.

    Args:
        effect: true mean of the differences, in their true standard deviations.
        pairs: number of pairs, at least 2.
        margin: differences below this count as the same, in the same unit; 0: none does.
        level: significance level of each test.
        critical: the test.
    """
    from scipy.special import chdtri, ndtr

    nodes, weights = _nodes()
    error = np.sqrt(chdtri(pairs - 1, nodes) / (pairs - 1) / pairs)
    t, t_same = critical(pairs, level)
    different = t * error
    same = np.clip(margin - t_same * error, 0, different)

    def within(bound: Array) -> Array:
        return ndtr((bound - effect) * np.sqrt(pairs)) - ndtr((-bound - effect) * np.sqrt(pairs))

    return float(weights @ (1 - within(different) + within(same)))


@lru_cache(maxsize=1)
def _nodes() -> tuple[Array, Array]:
    """Nodes and weights of Gauss-Legendre quadrature between 0 and 1."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return (nodes + 1) / 2, weights / 2
