"""The statistics behind a verdict: pure functions on arrays, so that simulations test the same code that reports use.

All functions accept leading axes, such as one for thousands of simulated studies. The rule, its sources and its power
are described in ``docs/statistics.md``; ``benchmarks/verdicts.py`` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np  # noqa: TID253 (imported by `summarise` when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

Array = NDArray[np.float64]

CONFIDENCE = 0.95
"""Confidence level of the intervals."""

LEVEL = 0.04
"""A verdict needs a corrected p below this. A t-test at 0.05 is wrong in exactly 5 of 100 studies without an effect, so
every second simulation would find more; 0.04 keeps errors below 5 in 100 even if the test's assumptions do not hold
exactly."""

MINIMUM_PAIRS = 3
"""Fewer pairs give no verdict: with two, the interval extends about thirteen standard errors to either side."""

_EQUAL = 1e-6
"""Relative difference below which two values count as equal: metrics are computed in single precision."""


@dataclass(frozen=True)
class Tests:
    """Paired tests, one for each row of differences.

    Args:
        mean: mean of the differences.
        standard_error: standard error of the mean; 0 if all differences are equal.
        t: mean divided by its standard error; NaN if the standard error is 0.
        p: two-sided p-value.
        p_allowed: p-value after the allowances, never below ``p``.
    """

    mean: Array
    standard_error: Array
    t: Array
    p: Array
    p_allowed: Array


def mean_and_error(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard error of the mean (n - 1 in the deviation); None for either if there are too few values."""
    if not values:
        return None, None
    given = np.asarray(values, dtype=float)
    mean = float(given[0]) if bool((given == given[0]).all()) else float(given.mean())
    if len(given) < 2:
        return mean, None
    return mean, float(np.sqrt(((given - mean) ** 2).sum() / (len(given) - 1) / len(given)))


def paired_tests(a: Array, b: Array, *, allowance: Array | float = 0.0, validation_error: Array | float = 0.0) -> Tests:
    """Test whether ``a`` and ``b`` differ, pair by pair: Student's paired t-test, or the exact sign-flip test.

    If all differences are equal, the t-test would divide by zero. Then p = 1 if they are zero, else p is that of the
    exact sign-flip test, whose smallest p is 2^(1 - n).

    The allowances account for a wrong choice of the learning rate on validation: the mean moves towards zero by
    ``allowance``, and half of ``validation_error`` is added to the standard error in quadrature.

    Args:
        a, b: scores of the two arms; pairs are along the last axis.
        allowance: what a wrong choice of the learning rate may have cost the losing arm, >= 0.
        validation_error: standard error of the arms' difference on validation, >= 0.

    Shapes: a, b (..., n) with n >= 2; allowance and validation_error (...).

    Source: Student 1908; sign flips: Fisher 1935, section 21. The allowances are ours, see ``docs/statistics.md``.
    """
    from scipy.special import stdtr

    differences = a - b
    pairs = differences.shape[-1]
    mean, error, flat = _mean_and_error_of(differences, np.maximum(np.abs(a), np.abs(b)).max(axis=-1))
    exact = np.where(mean == 0, 1.0, 2.0 ** (1 - pairs))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(flat, np.nan, mean / error)
        p = np.where(flat, exact, 2 * stdtr(pairs - 1, -np.abs(t)))
        left = np.maximum(np.abs(mean) - allowance, 0)
        widened = np.hypot(error, np.asarray(validation_error) / 2)
        allowed = np.where(widened == 0, np.where(left == 0, 1.0, exact), 2 * stdtr(pairs - 1, -left / widened))
    return Tests(mean, error, t, p, np.fmax(p, allowed))


def standard_error_of_differences(a: Array, b: Array) -> Array:
    """Standard error of the mean of ``a - b``. Shapes: a, b (..., n) -> (...)."""
    return _mean_and_error_of(a - b, np.maximum(np.abs(a), np.abs(b)).max(axis=-1))[1]


def _mean_and_error_of(differences: Array, size: Array) -> tuple[Array, Array, Array]:
    """Mean, its standard error, and whether all differences are equal up to rounding of values of ``size``."""
    rounding = _EQUAL * size
    flat = np.ptp(differences, axis=-1) <= rounding
    mean = differences.mean(axis=-1)
    mean = np.where(flat & (np.abs(mean) <= rounding), 0.0, mean)
    error = differences.std(axis=-1, ddof=1) / np.sqrt(differences.shape[-1])
    return mean, np.where(flat, 0.0, error), flat


def holm(p: Array) -> Array:
    """Holm's correction of p-values over the last axis; NaN marks a comparison without a test and does not count.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p, axis=-1)  # NaN last
    tests = np.sum(~np.isnan(p), axis=-1, keepdims=True)
    in_order = np.take_along_axis(p, order, axis=-1)
    scaled = in_order * np.maximum(tests - np.arange(p.shape[-1]), 1)
    corrected = np.minimum(np.maximum.accumulate(scaled, axis=-1), 1.0)
    result = np.empty_like(corrected)
    np.put_along_axis(result, order, corrected, axis=-1)
    return result


def interval(mean: float, error: float, pairs: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Confidence interval of a mean from Student's t with ``pairs - 1`` degrees of freedom.

    Args:
        mean: the mean.
        error: its standard error.
        pairs: number of values, at least 2.
        confidence: confidence level, in (0, 1).
    """
    from scipy.special import stdtrit

    half = float(stdtrit(pairs - 1, (1 + confidence) / 2)) * error
    return mean - half, mean + half


def hedges_g(mean: float, error: float, pairs: int) -> float | None:
    """Hedges' g: mean difference in standard deviations of the differences, corrected for small samples.

    The correction is the exact one, with ``pairs - 1`` degrees of freedom. It is 0 for two pairs, which therefore give
    no estimate.

    Args:
        mean: mean of the differences.
        error: its standard error.
        pairs: number of pairs.

    Returns:
        The effect size; None for fewer than three pairs or a standard error of 0.

    Source: Hedges 1981, equation 6e; for pairs: Borenstein et al. 2009, Introduction to Meta-Analysis, chapter 4.
    """
    from scipy.special import gammaln

    if error == 0 or pairs < MINIMUM_PAIRS:
        return None
    half = (pairs - 1) / 2
    correction = float(np.exp(gammaln(half) - gammaln(half - 0.5)) / np.sqrt(half))
    return correction * mean / (error * float(np.sqrt(pairs)))


def largest_gain(chosen: Array, others: Array) -> Array:
    """Largest gain on validation of another learning rate over the chosen one, with the same seed; at least 0.

    Args:
        chosen: validation at the chosen rate, signed so that higher is better.
        others: the same for each other rate.

    Shapes: chosen (..., n); others (..., rates, n), NaN if a rate has no run with a seed -> (...).
    """
    gains = np.where(np.isnan(others), -np.inf, others - chosen[..., None, :])
    return np.maximum(gains.max(axis=(-1, -2), initial=0.0), 0.0)
