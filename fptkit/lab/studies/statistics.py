"""From figures of runs to a verdict: pure functions on arrays, so that a simulation judges the code that reports use.

Everything takes leading axes: one comparison is an array of differences, thousands of studies are one array more. The
rule, its sources and what it costs in power are in ``docs/statistics.md``; ``benchmarks/verdicts.py`` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np  # noqa: TID253 (imported by `summarise` when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

Array = NDArray[np.float64]

CONFIDENCE = 0.95
"""Of the intervals."""

LEVEL = 0.04
"""A verdict needs a corrected p below this. A t-test at 0.05 is wrong in exactly 5 of 100 studies without an effect, so
that every second simulation would find more; 0.04 keeps the promise of 5 with room for what its assumptions leave
open."""

MINIMUM_PAIRS = 3
"""Fewer seeds give no verdict: with two the interval is some thirteen standard errors wide on either side."""

_EQUAL = 1e-6
"""Values nearer than this share of their size are the same figure: metrics are counted in single precision."""


@dataclass(frozen=True)
class Tests:
    """Paired tests, one for each row of differences.

    Args:
        mean: of the differences.
        standard_error: of the mean; 0 where all differences are equal.
        t: mean over standard error; NaN where the standard error is 0.
        p: two-sided.
        p_allowed: the same after the allowances, never below ``p``.
    """

    mean: Array
    standard_error: Array
    t: Array
    p: Array
    p_allowed: Array


def mean_and_error(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard error of the mean (n - 1 in the deviation); None where there are too few values."""
    if not values:
        return None, None
    given = np.asarray(values, dtype=float)
    mean = float(given[0]) if bool((given == given[0]).all()) else float(given.mean())
    if len(given) < 2:
        return mean, None
    return mean, float(np.sqrt(((given - mean) ** 2).sum() / (len(given) - 1) / len(given)))


def paired_tests(a: Array, b: Array, *, allowance: Array | float = 0.0, validation_error: Array | float = 0.0) -> Tests:
    """Whether ``a`` and ``b`` differ, pair by pair: Student's paired t-test, in one case the exact sign-flip test.

    Where all differences are equal the t-test divides by zero. Equal and zero is p = 1; equal and not zero is judged by
    the exact sign-flip test, whose smallest p is 2^(1 - n).

    The allowances are for the choice of the learning rate, which was made on validation and may have been wrong: the
    mean moves towards zero by ``allowance``, and half of ``validation_error`` is added to the standard error, in
    squares.

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
    """Of the mean of ``a`` minus ``b``. Shapes: a, b (..., n) -> (...)."""
    return _mean_and_error_of(a - b, np.maximum(np.abs(a), np.abs(b)).max(axis=-1))[1]


def _mean_and_error_of(differences: Array, size: Array) -> tuple[Array, Array, Array]:
    """Mean, its standard error, and whether the differences are all the same but for rounding at values of ``size``."""
    rounding = _EQUAL * size
    flat = np.ptp(differences, axis=-1) <= rounding
    mean = differences.mean(axis=-1)
    mean = np.where(flat & (np.abs(mean) <= rounding), 0.0, mean)
    error = differences.std(axis=-1, ddof=1) / np.sqrt(differences.shape[-1])
    return mean, np.where(flat, 0.0, error), flat


def holm(p: Array) -> Array:
    """Holm's correction over the last axis; NaN stands for a comparison without a test and does not count.

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
    """Interval of a mean from Student's t with ``pairs - 1`` degrees."""
    from scipy.special import stdtrit

    half = float(stdtrit(pairs - 1, (1 + confidence) / 2)) * error
    return mean - half, mean + half


def hedges_g(mean: float, error: float, pairs: int) -> float | None:
    """Mean difference in deviations of the differences, corrected for small samples; None where that deviation is 0.

    The correction is the exact one, with ``pairs - 1`` degrees. It is 0 for two pairs, where there is no estimate.

    Source: Hedges 1981, equation 6e; for pairs: Borenstein et al. 2009, Introduction to Meta-Analysis, chapter 4.
    """
    from scipy.special import gammaln

    if error == 0 or pairs < MINIMUM_PAIRS:
        return None
    half = (pairs - 1) / 2
    correction = float(np.exp(gammaln(half) - gammaln(half - 0.5)) / np.sqrt(half))
    return correction * mean / (error * float(np.sqrt(pairs)))


def largest_gain(chosen: Array, others: Array) -> Array:
    """By how much, at most, another learning rate did better on validation than the chosen one on the same seed.

    Shapes: chosen (..., n); others (..., rates, n), NaN where a rate has no run of a seed -> (...).
    """
    gains = np.where(np.isnan(others), -np.inf, others - chosen[..., None, :])
    return np.maximum(gains.max(axis=(-1, -2), initial=0.0), 0.0)
