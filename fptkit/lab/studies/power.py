"""The probability that a comparison is decided, from which resolution and further seeds follow.

By quadrature instead of ``scipy.stats.nct``, which is NaN for some strict levels and few pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np  # noqa: TID253 (imported when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

Array = NDArray[np.float64]


Critical = Callable[[int, float], tuple[float, float]]
"""A test. For a number of pairs and a level: the smallest |t| that shows a difference, and the smallest distance of the
mean inside the margin that shows equivalence, in standard errors. Infinite if so few pairs never do."""


def critical_t(pairs: int, level: float) -> tuple[float, float]:
    """`Critical` of the paired t-test and of two one-sided t-tests."""
    from scipy.special import stdtrit

    return float(stdtrit(pairs - 1, 1 - level / 2)), float(stdtrit(pairs - 1, 1 - level))


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
