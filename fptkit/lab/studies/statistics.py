"""The statistics behind a verdict: pure functions on arrays, so that simulations test the same code that reports use.

Functions of arrays accept leading axes, such as one for thousands of simulated studies. The rule, its sources and its
power are described in ``docs/statistics.md``; ``benchmarks/verdicts.py`` measures it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np  # noqa: TID253 (imported by `summarise` when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

Array = NDArray[np.float64]

CONFIDENCE = 0.95
"""Confidence level of the intervals."""

LEVEL = 0.05
"""A verdict needs a corrected p below this."""

POWER = 0.8
"""Fraction of studies in which an effect of the size of the resolution is found."""

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
        p_allowed: p-value after the allowances, never below ``p``.
    """

    mean: Array
    standard_error: Array
    t: Array
    p: Array
    p_allowed: Array


@dataclass(frozen=True)
class Combined:
    """One test over tasks.

    Args:
        mean: mean over tasks and seeds of the differences.
        standard_error: standard error of the mean, from the seeds' means over tasks; 0 if these are all equal.
        t: mean divided by its standard error; NaN if the standard error is 0.
        degrees: degrees of freedom.
        p: two-sided p-value.
    """

    mean: Array
    standard_error: Array
    t: Array
    degrees: int
    p: Array


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
    mean, error, t, p = _tests(differences, rounding_of(a, b))
    exact = np.where(mean == 0, 1.0, 2.0 ** (1 - differences.shape[-1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.maximum(np.abs(mean) - allowance, 0)
        widened = np.hypot(error, np.asarray(validation_error) / 2)
        allowed = np.where(
            widened == 0, np.where(left == 0, 1.0, exact), 2 * stdtr(differences.shape[-1] - 1, -left / widened)
        )
    return Tests(mean, error, t, p, np.fmax(p, allowed))


def rounding_of(a: Array, b: Array) -> Array:
    """Distance of two differences ``a - b`` that is within rounding of single precision.

    Shapes: a, b (..., n) -> (...).
    """
    return EQUAL * np.maximum(np.abs(a), np.abs(b)).max(axis=-1)


def _tests(differences: Array, rounding: Array | float) -> tuple[Array, Array, Array, Array]:
    """Mean, standard error, t and two-sided p; shapes as in `paired_tests`."""
    from scipy.special import stdtr

    pairs = differences.shape[-1]
    mean, error, flat = _mean_and_error_of(differences, rounding)
    exact = np.where(mean == 0, 1.0, 2.0 ** (1 - pairs))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(flat, np.nan, mean / error)
        return mean, error, t, np.where(flat, exact, 2 * stdtr(pairs - 1, -np.abs(t)))


def standard_error_of_differences(a: Array, b: Array) -> Array:
    """Standard error of the mean of ``a - b``. Shapes: a, b (..., n) -> (...)."""
    return _mean_and_error_of(a - b, rounding_of(a, b))[1]


def _mean_and_error_of(differences: Array, rounding: Array | float) -> tuple[Array, Array, Array]:
    """Mean, its standard error, and whether all differences are equal up to ``rounding``."""
    rounding = np.maximum(rounding, EQUAL * np.abs(differences).max(axis=-1))
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


def resolution(deviation: float, pairs: int, level: float = LEVEL, power: float = POWER) -> float | None:
    """Smallest difference that the paired t-test finds with this power.

    Args:
        deviation: standard deviation of the differences.
        pairs: number of pairs.
        level: significance level of the test.
        power: fraction of studies that find it, between ``level`` and 1.

    Returns:
        The difference; None for fewer than three pairs or without deviation.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit
    from scipy.stats import nct

    if pairs < MINIMUM_PAIRS or not 0 < deviation < np.inf:
        return None
    degrees = pairs - 1
    critical = float(stdtrit(degrees, 1 - level / 2))

    def lacking(noncentrality: float) -> float:
        other_side = np.nan_to_num(nct.cdf(-critical, degrees, noncentrality))  # NaN where it is below 1e-20
        return float(nct.sf(critical, degrees, noncentrality) + other_side) - power

    return float(brentq(lacking, 0.0, 4 * critical + 10)) * deviation / float(np.sqrt(pairs))


def further_seeds(
    mean: float,
    deviation: float,
    pairs: int,
    margin: float | None,
    level: float = LEVEL,
    power: float = POWER,
    limit: int = 1000,
) -> int | None:
    """Number of further seeds with which the comparison is decided with this power, if it is as observed.

    Decided means that a difference is found, or else that it is within the margin.

    Args:
        mean, deviation: mean and standard deviation of the differences, taken as true.
        pairs: number of pairs so far.
        margin: differences below this count as the same; None if there is none.
        level: significance level of either test.
        power: fraction of studies that are decided.
        limit: largest answer.

    Returns:
        The number; None if it is above the limit or without deviation.
    """
    if not 0 < deviation < np.inf or not np.isfinite(mean):
        return None
    effect, bound = abs(mean) / deviation, (margin or 0.0) / deviation
    more = range(max(1, MINIMUM_PAIRS - pairs), limit + 1)
    found = bisect_left(more, power, key=lambda further: _decided(effect, pairs + further, bound, level))
    return more[found] if found < len(more) else None


def _decided(effect: float, pairs: int, margin: float, level: float) -> float:
    """Probability that a difference or else equivalence is found; effect and margin in standard deviations.

    The mean is normal and independent of the sample's deviation; the average over the latter is taken at 400 quantiles.
    """
    from scipy.special import chdtri, ndtr, stdtrit

    quantiles = (np.arange(400) + 0.5) / 400
    error = np.sqrt(chdtri(pairs - 1, quantiles) / (pairs - 1) / pairs)
    different = stdtrit(pairs - 1, 1 - level / 2) * error
    same = np.clip(margin - stdtrit(pairs - 1, 1 - level) * error, 0, different)

    def within(bound: Array) -> Array:
        return ndtr((bound - effect) * np.sqrt(pairs)) - ndtr((-bound - effect) * np.sqrt(pairs))

    return float((1 - within(different) + within(same)).mean())


def combined(differences: Array, *, rounding: Array | float = 0.0) -> Combined:
    """Test whether the arms differ over all tasks: the paired t-test of each seed's mean over tasks.

    Args:
        differences: paired differences; all tasks have the same seeds.
        rounding: differences this close are equal, see `rounding_of`.

    Shapes: differences (..., tasks, seeds) with at least 2 seeds; rounding (...).
    """
    mean, error, t, p = _tests(differences.mean(axis=-2), rounding)
    return Combined(mean, error, t, differences.shape[-1] - 1, p)


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
