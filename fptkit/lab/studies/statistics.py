"""The statistics behind a verdict: pure functions on arrays, so that simulations test the same code that reports use.

Functions of arrays accept leading axes, such as one for thousands of simulated studies. The rule, its sources and its
power are described in ``docs/statistics.md``; ``benchmarks/verdicts.py`` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np  # noqa: TID253 (imported by `summarise` when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

Array = NDArray[np.float64]

CONFIDENCE = 0.95
"""Confidence level of the intervals."""

LEVEL = 0.05
"""A verdict needs a corrected p below this."""

MINIMUM_PAIRS = 3
"""Fewer pairs give no verdict: with two, the interval extends about thirteen standard errors to either side."""

MINIMUM_EXACT = 6
"""Fewer pairs give no exact test and no bootstrap: with five, the smallest two-sided p of sign flips is 0.0625."""

_EXACT_PAIRS = 16
"""Up to so many pairs, all flips of signs are tried."""

EQUAL = 1e-6
"""Relative difference below which two values count as equal: metrics are computed in single precision."""


@dataclass(frozen=True)
class Tests:
    """Paired tests, one for each row of differences.

    Args:
        mean: mean of the differences.
        standard_error: standard error of the mean; 0 if all differences are equal.
        t: mean divided by its standard error; NaN if the standard error is 0.
        p: two-sided p-value.
    """

    mean: Array
    standard_error: Array
    t: Array
    p: Array


@dataclass(frozen=True)
class Combined(Tests):
    """One test over tasks, of each seed's mean difference over tasks.

    Args:
        degrees: degrees of freedom.
    """

    degrees: int


@dataclass(frozen=True)
class Heterogeneity:
    """Whether a difference varies between tasks by more than noise; all but ``degrees`` are NaN if there is no noise.

    Args:
        q: Cochran's Q.
        degrees: number of tasks - 1.
        p: p-value of Q.
        i2: fraction of the variation between tasks that is not noise (I²), in [0, 1].
    """

    q: Array
    degrees: int
    p: Array
    i2: Array


def mean_and_error(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard error of the mean (n - 1 in the deviation); None for either if there are too few values."""
    if not values:
        return None, None
    given = np.asarray(values, dtype=float)
    mean = float(given[0]) if bool((given == given[0]).all()) else float(given.mean())
    if len(given) < 2:
        return mean, None
    return mean, float(np.sqrt(((given - mean) ** 2).sum() / (len(given) - 1) / len(given)))


def paired_tests(a: Array, b: Array) -> Tests:
    """Test whether ``a`` and ``b`` differ, pair by pair: Student's paired t-test, or the exact sign-flip test.

    If all differences are equal, the t-test would divide by zero. Then p = 1 if they are zero, else p is that of the
    exact sign-flip test, whose smallest p is 2^(1 - n).

    Args:
        a, b: scores of the two arms; pairs are along the last axis.

    Shapes: a, b (..., n) with n >= 2 -> (...).

    Source: Student 1908; sign flips: Fisher 1935, section 21.
    """
    return _tests(a - b, rounding_of(a, b))


def rounding_of(a: Array, b: Array) -> Array:
    """Distance of two differences ``a - b`` that is within rounding of single precision.

    Shapes: a, b (..., n) -> (...).
    """
    return EQUAL * np.maximum(np.abs(a), np.abs(b)).max(axis=-1)


def _tests(differences: Array, rounding: Array | float) -> Tests:
    from scipy.special import stdtr

    pairs = differences.shape[-1]
    mean, error, equal = _mean_and_error_of(differences, rounding)
    exact = np.where(mean == 0, 1.0, 2.0 ** (1 - pairs))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(equal, np.nan, mean / error)
        p = np.where(equal, exact, 2 * stdtr(pairs - 1, -np.abs(t)))
    return Tests(mean, error, t, p)


def _mean_and_error_of(differences: Array, rounding: Array | float) -> tuple[Array, Array, Array]:
    """Mean, its standard error, and whether all differences are equal up to ``rounding``."""
    rounding = np.maximum(rounding, EQUAL * np.abs(differences).max(axis=-1))
    with np.errstate(invalid="ignore"):  # NaN if a difference is not finite
        span = np.ptp(differences, axis=-1)
        equal = np.isfinite(span) & (span <= rounding)
        mean = differences.mean(axis=-1)
        error = differences.std(axis=-1, ddof=1) / np.sqrt(differences.shape[-1])
    return np.where(equal & (np.abs(mean) <= rounding), 0.0, mean), np.where(equal, 0.0, error), equal


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


def equivalence(mean: Array | float, error: Array | float, pairs: int, margin: Array | float) -> Array:
    """p-value against a mean of at least ``margin`` in size: two one-sided t-tests, the larger p of both.

    If all differences are equal, p is that of the exact sign-flip test on one side, 2^(-n), if they are within the
    margin, else 1.

    Args:
        mean: mean of the differences.
        error: its standard error; 0 if all differences are equal.
        pairs: number of differences, at least 2.
        margin: differences below this count as the same, >= 0.

    Shapes: all (...) but ``pairs``.

    Source: Schuirmann 1987.
    """
    from scipy.special import stdtr

    outside = np.abs(mean) - margin
    with np.errstate(divide="ignore", invalid="ignore"):
        p = stdtr(pairs - 1, outside / error)
    exact = np.where(outside < -EQUAL * np.asarray(margin), 2.0**-pairs, 1.0)
    return np.where(np.asarray(error) == 0, exact, p)


def sign_flip_p(differences: Array, *, rounding: float = 0.0) -> float:
    """Two-sided p-value of the exact sign-flip test; for more than 16 pairs from 65,536 random flips, always the same.

    Sums that differ by less than a ten-thousandth of the largest difference count as equal, which errs on the safe
    side.

    Args:
        differences: paired differences, shape (n,); NaN if one is not finite.
        rounding: differences this close are equal, see `rounding_of`.

    Source: Fisher 1935, The Design of Experiments, section 21.
    """
    pairs = len(differences)
    if not np.isfinite(differences).all():
        return float("nan")
    exact = pairs <= _EXACT_PAIRS
    if exact:
        flips = np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1
    else:
        flips = np.random.default_rng(0).integers(0, 2, size=(2**_EXACT_PAIRS, pairs))
    sums = np.abs((1 - 2 * flips) @ differences)
    tie = max(pairs * rounding, 1e-4 * float(np.abs(differences).max()))
    extreme = int((sums >= abs(float(differences.sum())) - tie).sum())
    return extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)


def bca_interval(
    differences: Array, confidence: float = CONFIDENCE, *, rounding: float = 0.0
) -> tuple[float, float] | None:
    """Bootstrap confidence interval of the mean, bias-corrected and accelerated (BCa); always from the same resamples.

    Args:
        differences: paired differences, shape (n,).
        confidence: confidence level, in (0, 1).
        rounding: differences this close are equal, see `rounding_of`.

    Returns:
        The interval; None for fewer than six pairs, if all differences are equal, or if one is not finite.

    Source: Efron 1987, as in ``scipy.stats.bootstrap``.
    """
    from scipy.stats import bootstrap

    if len(differences) < MINIMUM_EXACT or not np.isfinite(differences).all():
        return None
    if bool(_mean_and_error_of(differences, rounding)[2]):
        return None
    generator = np.random.default_rng(0)
    found = bootstrap((differences,), np.mean, confidence_level=confidence, method="BCa", random_state=generator)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def combined(differences: Array, *, rounding: Array | float = 0.0) -> Combined:
    """Test whether the arms differ over all tasks: the paired t-test of each seed's mean over tasks.

    Args:
        differences: paired differences; all tasks have the same seeds.
        rounding: differences this close are equal, see `rounding_of`.

    Shapes: differences (..., tasks, seeds) with at least 2 seeds; rounding (...).
    """
    tests = _tests(differences.mean(axis=-2), rounding)
    return Combined(tests.mean, tests.standard_error, tests.t, tests.p, differences.shape[-1] - 1)


def stouffer(p_two_sided: Array, signs: Array) -> Array:
    """Combine the tasks' two-sided p-values of tests with a direction into one two-sided p-value.

    Args:
        p_two_sided: p-values of the tasks; NaN marks a task without a test and does not count.
        signs: sign of the difference on each task.

    Shapes: (..., tasks) -> (...).

    Source: Stouffer et al. 1949, without weights.
    """
    from scipy.special import ndtr, ndtri

    tested = ~np.isnan(p_two_sided)
    smallest = np.finfo(float).tiny
    scores = -ndtri(np.clip(p_two_sided, smallest, 1) / 2) * np.sign(signs)
    total = np.where(tested, scores, 0.0).sum(axis=-1)
    count = tested.sum(axis=-1)
    return np.where(count > 0, 2 * ndtr(-np.abs(total) / np.sqrt(np.maximum(count, 1))), np.nan)


def heterogeneity(means: Array, errors: Array, pairs: int) -> Heterogeneity:
    """Test whether the difference varies between tasks by more than noise: Cochran's Q with equal weights.

    All tasks have the same weight, 1 over their average noise ``mean(errors**2)``, and Q is compared with an F
    distribution whose degrees of freedom account for unequal noise (Brown and Forsythe, with Mehrotra's correction).
    Weights from each task's own few seeds would be wrong: with 3 seeds and 6 tasks that differ in nothing, the usual Q
    against chi-squared finds heterogeneity in 4 of 10 studies.

    Args:
        means: mean difference on each task.
        errors: standard errors of the means.
        pairs: number of pairs behind each mean, at least 2.

    Shapes: means, errors (..., tasks) -> (...).

    Source: Cochran 1954; Brown and Forsythe 1974; Mehrotra 1997; I²: Higgins and Thompson 2002.
    """
    from scipy.special import fdtrc

    tasks, noise = means.shape[-1], np.square(errors)
    total, squares = noise.sum(axis=-1), np.square(noise).sum(axis=-1)
    degrees = tasks - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.square(means - means.mean(axis=-1, keepdims=True)).sum(axis=-1) / (total / tasks)
        q = np.where((total > 0) & (degrees > 0), q, np.nan)
        corrected = (degrees / tasks * total) ** 2 / ((1 - 2 / tasks) * squares + (total / tasks) ** 2)
        p = fdtrc(corrected, (pairs - 1) * total**2 / squares, q / degrees if degrees else q)
        i2 = np.where(q > 0, np.maximum(1 - degrees / q, 0.0), q)
    return Heterogeneity(q, degrees, p, i2)
