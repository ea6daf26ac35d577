"""Tests of paired differences that are valid however often they are looked at, so seeds can be added until decided.

A t-test that is repeated after every seed, until one of them is below 0.05, finds an effect in a quarter of studies
without one. An e-process does not. It is a bet against the null hypothesis with a stake of 1: if the null is true, the
bet is worth 20 at any time with probability 1/20 at most, over all looks together (Ville's inequality).

Differences are along the last axis, in the order of the seeds. A value after a seed uses the seeds up to it. A
difference that is not finite makes it NaN, and all later ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np  # noqa: TID253 (imported when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

from fptkit.lab.studies.statistics import CONFIDENCE, EQUAL, MINIMUM_PAIRS

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Running:
    """Statistics of the differences up to each seed; (..., n), but ``pairs`` (n,).

    Args:
        pairs: number of differences.
        mean: their mean.
        squares: sum of their squared deviations from the mean.
        equal: whether all are equal up to rounding.
        rounding: the distance that counts as rounding.
    """

    pairs: Array
    mean: Array
    squares: Array
    equal: NDArray[np.bool_]
    rounding: Array

    def above(self, null: Array | float) -> Array:
        """Distance of the mean above ``null``; 0 if it is only rounding."""
        distance = self.mean - np.asarray(null)[..., None]
        return np.where(self.equal & (np.abs(distance) <= self.rounding), 0.0, distance)


def log_e(differences: Array, null: Array | float = 0.0, scale: float = 1.0, *, rounding: Array | float = 0.0) -> Array:
    """Logarithm of the e-value against a mean of ``null``, after each seed; -inf before the third.

    The e-value is the likelihood ratio of the t-statistic, averaged over standardized effects (mean - null) / deviation
    with a normal prior around 0. It does not depend on the unknown deviation.

    Equal differences have no deviation. The e-value is then at most that of the exact sign-flip test, 2^(n - 1).

    Args:
        differences: paired differences.
        null: the mean under the null hypothesis.
        scale: standard deviation of the prior.
        rounding: differences this close are equal, see `fptkit.lab.studies.statistics.rounding_of`.

    Shapes: differences (..., n); null and rounding (...) -> (..., n).

    Source: Perez-Ortiz, Lardy, de Heide and Gruenwald 2024, E-statistics, group invariance and anytime-valid testing,
    Annals of Statistics 52; with this prior: Wang and Ramdas 2024, Anytime-valid t-tests and confidence sequences for
    Gaussian means with unknown variance, theorem 4.9.
    """
    running = _running(differences, rounding)
    result = _log_mixture(running, running.above(null), scale)
    return _limited(result, running, (running.pairs - 1) * np.log(2))


def log_e_below(differences: Array, null: Array | float, scale: float = 1.0, *, rounding: Array | float = 0.0) -> Array:
    """Logarithm of the e-value against a mean of ``null`` or more, after each seed; -inf before the third.

    As `log_e`, but averaged over negative effects only: twice the average over all effects, times the posterior
    probability that the effect is negative. This probability is one of Student's t with n degrees of freedom.

    Equal differences below ``null`` give at most 2^n.

    Args and shapes as in `log_e`.
    """
    running = _running(differences, rounding)
    result = _log_mixture_below(running, running.above(null), scale)
    return _limited(result, running, running.pairs * np.log(2))


def anytime_p(differences: Array, null: Array | float = 0.0, *, rounding: Array | float = 0.0) -> Array:
    """Anytime-valid p-value against a mean of ``null``: 1 over the largest e-value so far, at most 1.

    Args and shapes as in `log_e`.
    """
    return _p(log_e(differences, null, rounding=rounding))


def anytime_same(differences: Array, margin: Array | float, *, rounding: Array | float = 0.0) -> Array:
    """Anytime-valid p-value against a mean of at least ``margin`` in size: small if the arms are the same.

    Each side is tested at its boundary, as in two one-sided t-tests. Why the boundary covers every mean m beyond it:
    the likelihood ratio of the t-statistic is monotone, so the e-value of `log_e_below` falls as its null falls, and
    the one against the margin is never above the one against m. If m is true, the latter reaches 1/p with probability
    p at most (Ville), hence so does the former. A mean is beyond one side only, so the larger p of both is valid.

    Args:
        differences: paired differences.
        margin: differences below this count as the same, > 0.
        rounding: as in `log_e`.

    Shapes: differences (..., n); margin and rounding (...) -> (..., n).
    """
    below = _p(log_e_below(differences, margin, rounding=rounding))
    above = _p(log_e_below(-differences, margin, rounding=rounding))
    return np.maximum(below, above)


def confidence_sequence(
    differences: Array, confidence: float = CONFIDENCE, *, rounding: Array | float = 0.0
) -> tuple[Array, Array]:
    """Confidence interval of the mean after each seed; with this confidence, all of them contain it.

    It contains the means that `anytime_p` does not reject. It is -inf to inf as long as none can be rejected: with few
    seeds (four at 95 %), or if all differences are equal. Lower above upper means that no mean is left.

    Args:
        differences: paired differences.
        confidence: confidence level, in (0, 1).
        rounding: as in `log_e`.

    Shapes: differences (..., n) -> lower and upper bounds (..., n).
    """
    low, high = interval_of_each_look(differences, confidence, rounding=rounding)
    return np.maximum.accumulate(low, axis=-1), np.minimum.accumulate(high, axis=-1)


def interval_of_each_look(
    differences: Array, confidence: float = CONFIDENCE, *, rounding: Array | float = 0.0
) -> tuple[Array, Array]:
    """The intervals that `confidence_sequence` intersects, each from the seeds so far alone: around their mean.

    Args, shapes and guarantee as there: with this confidence, all of them together contain the mean.
    """
    running = _running(differences, rounding)
    pairs, most = running.pairs, _critical_fraction(running.pairs, 1 - confidence)
    bounded = (most < 1) & (pairs >= MINIMUM_PAIRS) & ~running.equal
    with np.errstate(invalid="ignore"):
        half = np.where(bounded, np.sqrt(running.squares * most / (pairs * (1 - most))), np.inf)
        return running.mean - half, running.mean + half


def anytime_p_over_tasks(differences: Array, *, rounding: Array | float = 0.0) -> tuple[Array, Array]:
    """Anytime-valid p-value against no difference on any task, for tasks whose differences have no common unit.

    For each direction, the one-sided e-values of the tasks are multiplied: tasks that agree add up, others cancel. The
    better of both directions counts twice. As in Stouffer's method, the noise of different tasks must be independent;
    the product is then an e-process, too.

    Args:
        differences: paired differences; all tasks have the same seeds.
        rounding: as in `log_e`, for each task.

    Shapes: differences (..., tasks, n), rounding (..., tasks) -> p (..., n); direction (..., n): 1 if the evidence is
    for differences above 0, else -1.
    """
    above = log_e_below(-differences, 0.0, rounding=rounding).sum(axis=-2)
    below = log_e_below(differences, 0.0, rounding=rounding).sum(axis=-2)
    p_above, p_below = _p(above), _p(below)
    return np.minimum(2 * np.minimum(p_above, p_below), 1.0), np.where(p_above <= p_below, 1.0, -1.0)


@lru_cache(maxsize=4096)
def anytime_critical_t(pairs: int, level: float) -> tuple[float, float]:
    """`fptkit.lab.studies.power.Critical` of `anytime_p` and `anytime_same` at one look, after ``pairs`` seeds.

    Earlier looks may have decided before, so figures that follow from it err on the safe side.
    """
    fraction = float(_critical_fraction(np.array(pairs, dtype=float), level))
    different = np.sqrt((pairs - 1) * fraction / (1 - fraction)) if fraction < 1 else np.inf
    return float(different), _critical_one_sided_t(pairs, level)


def _critical_one_sided_t(pairs: int, level: float) -> float:
    """The t at which the e-value of `log_e_below` reaches 1 / level; infinite if none does."""
    from scipy.optimize import brentq

    # Values whose mean is t standard errors from the boundary: a mean of t / sqrt(n), squared deviations of n - 1.
    count = np.array([float(pairs)])

    def lacking(t: float) -> float:
        running = _Running(count, -t / np.sqrt(count), count - 1, equal=np.array([False]), rounding=np.zeros(1))
        return float(_log_mixture_below(running, running.mean, 1.0)[0] + np.log(level))

    most = 1e6
    return float(brentq(lacking, 0.0, most)) if lacking(most) > 0 else np.inf


def _running(differences: Array, rounding: Array | float) -> _Running:
    pairs = np.arange(1.0, differences.shape[-1] + 1)
    differences = np.where(np.isfinite(differences), differences, np.nan)
    with np.errstate(over="ignore"):
        mean = np.cumsum(differences, axis=-1) / pairs
        before = np.concatenate([differences[..., :1], mean[..., :-1]], axis=-1)
        squares = np.cumsum((pairs - 1) / pairs * (differences - before) ** 2, axis=-1)
        span = np.maximum.accumulate(differences, axis=-1) - np.minimum.accumulate(differences, axis=-1)
        relative = EQUAL * np.maximum.accumulate(np.abs(differences), axis=-1)
        close = np.maximum(np.asarray(rounding)[..., None], relative)
        return _Running(pairs, mean, squares, span <= close, close)


def _log_mixture(running: _Running, above: Array, scale: float) -> Array:
    growth = 1 + running.pairs * scale**2
    with np.errstate(invalid="ignore", over="ignore"):
        explained = running.pairs * above**2
        fraction = np.where(above == 0, 0.0, explained / (explained + running.squares))
    return -0.5 * np.log(growth) - running.pairs / 2 * np.log1p(-fraction * (1 - 1 / growth))


def _log_mixture_below(running: _Running, above: Array, scale: float) -> Array:
    from scipy.special import stdtr

    pairs = running.pairs
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        size = np.sqrt((1 + pairs * scale**2) * running.squares + pairs * above**2)
        t = np.where(above == 0, 0.0, -scale * pairs**1.5 * above / size)
        return _log_mixture(running, above, scale) + np.log(2 * stdtr(pairs, t))


def _critical_fraction(pairs: Array, level: float) -> Array:
    """The explained fraction of the squares at which the e-value of `log_e` reaches 1 / level; above 1 if none does."""
    growth = 1 + pairs
    return (1 - np.exp(2 / pairs * (np.log(level) - 0.5 * np.log(growth)))) * growth / pairs


def _limited(log_values: Array, running: _Running, limit: Array) -> Array:
    """Limit the values of equal differences; no evidence before the third seed."""
    limited = np.where(running.equal, np.minimum(log_values, limit), log_values)
    return np.where(running.pairs < MINIMUM_PAIRS, -np.inf, limited)


def _p(log_values: Array) -> Array:
    return np.exp(-np.maximum(np.maximum.accumulate(log_values, axis=-1), 0.0))
