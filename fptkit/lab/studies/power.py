"""The probability that a comparison is decided, from which resolution and further seeds follow.

By quadrature instead of ``scipy.stats.nct``, which is NaN for some strict levels and few pairs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np  # noqa: TID253 (imported when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

Array = NDArray[np.float64]


def probability_decided(effect: float, pairs: int, margin: float, level: float) -> float:
    """Probability that the paired t-test finds a difference, or else two one-sided t-tests find equivalence.

    The mean is normal and independent of the sample's deviation, over whose quantiles the probability is averaged.

    Args:
        effect: true mean of the differences, in their true standard deviations.
        pairs: number of pairs, at least 2.
        margin: differences below this count as the same, in the same unit; 0: none does.
        level: significance level of each test.
    """
    from scipy.special import chdtri, ndtr, stdtrit

    nodes, weights = _nodes()
    error = np.sqrt(chdtri(pairs - 1, nodes) / (pairs - 1) / pairs)
    different = stdtrit(pairs - 1, 1 - level / 2) * error
    same = np.clip(margin - stdtrit(pairs - 1, 1 - level) * error, 0, different)

    def within(bound: Array) -> Array:
        return ndtr((bound - effect) * np.sqrt(pairs)) - ndtr((-bound - effect) * np.sqrt(pairs))

    return float(weights @ (1 - within(different) + within(same)))


@lru_cache(maxsize=1)
def _nodes() -> tuple[Array, Array]:
    """Nodes and weights of Gauss-Legendre quadrature between 0 and 1."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return (nodes + 1) / 2, weights / 2
