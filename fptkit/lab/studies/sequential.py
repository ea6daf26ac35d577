"""Tests of paired differences that are valid however often they are looked at, so seeds can be added until decided.

A t-test that is repeated after every seed, until one of them is below 0.05, finds an effect in a quarter of studies
without one. An e-process does not: it is a bet against the null hypothesis, worth 1 at first, that a true null makes
20-fold with probability 1/20 at most, over all looks together (Ville's inequality). See ``docs/statistics.md``.

Differences are along the last axis, in the order of the seeds. Values after each seed use the seeds up to it; a NaN
makes them NaN from there on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np  # noqa: TID253 (imported when there is something to compute)
from numpy.typing import NDArray  # noqa: TID253

from fptkit.lab.studies.statistics import CONFIDENCE, EQUAL, MINIMUM_PAIRS

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Running:
    """What the differences up to each seed amount to; all (..., n).

    Args:
        pairs: number of differences, (n,).
        mean: their mean.
        squares: sum of their squared deviations from the mean.
        flat: whether all are equal up to rounding.
        rounding: distance from the mean that is nothing but rounding.
    """

    pairs: Array
    mean: Array
    squares: Array
    flat: NDArray[np.bool_]
    rounding: Array


def log_e(differences: Array, null: Array | float = 0.0, scale: float = 1.0, *, rounding: Array | float = 0.0) -> Array:
    """Logarithm of the e-value against a mean of ``null``, after each seed; -inf before the third.

    The e-value is the likelihood ratio of the t-statistic, averaged over standardized effects (mean - null) / deviation
    with a normal prior around 0. It needs no knowledge of the deviation.

    Equal differences have no deviation. Then the e-value is 1 over the p of the exact sign-flip test, 2^(n - 1), or the
    likelihood ratio, whichever is less.

    Args:
        differences: paired differences.
        null: the mean under the null hypothesis.
        scale: standard deviation of the prior.
        rounding: differences this close are equal, see `rounding_of`.

    Shapes: differences (..., n); null and rounding (...) -> (..., n).

    Source: Perez-Ortiz, Lardy, de Heide and Gruenwald 2024, E-statistics, group invariance and anytime-valid testing,
    Annals of Statistics 52; the average over a normal prior: Wang and Ramdas 2024, theorem 4.9.
    """
    return _log_e(_running(differences, rounding), null, scale)


def _log_e(running: _Running, null: Array | float, scale: float) -> Array:
    pairs, growth = running.pairs, 1 + running.pairs * scale**2
    away = np.abs(running.mean - np.asarray(null)[..., None])
    away = np.where(running.flat & (away <= running.rounding), 0.0, away)
    explained = _fraction(pairs * away**2, running.squares)
    result = -0.5 * np.log(growth) - pairs / 2 * np.log1p(-explained * (1 - 1 / growth))
    result = np.where(running.flat, np.minimum(result, (pairs - 1) * np.log(2)), result)
    return np.where(pairs < MINIMUM_PAIRS, -np.inf, result)


def anytime_p(differences: Array, null: Array | float = 0.0, *, rounding: Array | float = 0.0) -> Array:
    """Anytime-valid p-value against a mean of ``null``: 1 over the largest e-value so far, at most 1.

    Args and shapes as in `log_e`.
    """
    return _p(log_e(differences, null, rounding=rounding))


def confidence_sequence(
    differences: Array, confidence: float = CONFIDENCE, *, rounding: Array | float = 0.0
) -> tuple[Array, Array]:
    """Confidence interval of the mean after each seed; all of them together hold with this confidence.

    It holds the means that `anytime_p` does not reject; -inf to inf where it rejects none, as with four seeds or if all
    differences are equal.

    Args:
        differences: paired differences.
        confidence: confidence level, in (0, 1).
        rounding: as in `log_e`.

    Shapes: differences (..., n) -> lower and upper bounds (..., n).
    """
    running = _running(differences, rounding)
    pairs, growth = running.pairs, 1 + running.pairs
    most = (1 - np.exp(2 / pairs * (np.log(1 - confidence) - 0.5 * np.log(growth)))) * growth / pairs
    reached = (most < 1) & ~running.flat & (pairs >= MINIMUM_PAIRS)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.where(reached, np.sqrt(running.squares * most / (pairs * (1 - most))), np.inf)
    low, high = np.maximum.accumulate(running.mean - half, axis=-1), np.minimum.accumulate(running.mean + half, axis=-1)
    return low, high


def anytime_same(differences: Array, margin: Array | float, *, rounding: Array | float = 0.0) -> Array:
    """Anytime-valid p-value against a mean of at least ``margin`` in size: small if the arms are the same.

    Each side is tested at its boundary, and only while the mean is inside. Why this covers all means m >= margin beyond
    it: as long as the mean of the differences is below the margin, it is further from m than from the margin, so the
    e-value against m is the larger one. If the e-value against the margin reaches 1/p then, so does that against m,
    which happens with probability p at most if m is true (Ville). A mean has one side only, hence the larger p of both.

    Args:
        differences: paired differences.
        margin: differences below this count as the same, > 0.
        rounding: as in `log_e`.

    Shapes: differences (..., n); margin and rounding (...) -> (..., n).
    """
    running = _running(differences, rounding)
    margin = np.asarray(margin, dtype=float)
    sides = [
        _p(np.where(inside, _log_e(running, null, 1.0), -np.inf))
        for null, inside in ((margin, running.mean < margin[..., None]), (-margin, running.mean > -margin[..., None]))
    ]
    return np.maximum(*sides)


def _running(differences: Array, rounding: Array | float) -> _Running:
    pairs = np.arange(1, differences.shape[-1] + 1, dtype=float)
    mean = np.cumsum(differences, axis=-1) / pairs
    before = np.concatenate([np.zeros_like(mean[..., :1]), mean[..., :-1]], axis=-1)
    squares = np.cumsum((differences - before) * (differences - mean), axis=-1)  # Welford
    span = np.maximum.accumulate(differences, axis=-1) - np.minimum.accumulate(differences, axis=-1)
    largest = np.maximum.accumulate(np.abs(differences), axis=-1)
    equal = np.maximum(np.asarray(rounding)[..., None], EQUAL * largest)
    return _Running(pairs, mean, squares, span <= equal, equal)


def _fraction(part: Array, rest: Array) -> Array:
    """``part / (part + rest)``, and 0 for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.where((part == 0) & (rest == 0), 0.0, part / (part + rest))


def _p(log_values: Array) -> Array:
    return np.exp(-np.maximum(np.maximum.accumulate(log_values, axis=-1), 0.0))
