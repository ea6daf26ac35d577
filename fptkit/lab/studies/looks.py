"""Evidence of a comparison after each of its seeds, for studies that add seeds until their comparisons are decided.

Why Holm's correction may be applied at times that the data choose: if two arms do not differ, the probability that
their anytime p-value is ever below some α, over all looks together, is at most α (Ville's inequality). The smallest
value that it ever takes is therefore a valid p-value, and Holm's method on the smallest values of all comparisons of a
question is valid, however these depend on each other. Holm's method rejects more if any p falls. So whatever it rejects
at any look is among what it rejects on the smallest values: a question has a false verdict with a probability of 5 % at
most, over all its looks together.

This needs no rule for stopping, and no equal numbers of seeds: a comparison may stop early, or get seeds that another
question needed. It uses the probability that the e-process ever reaches a bound, and not its mean at the stop, which is
at most 1 only for rules that do not see the unit of the data. Two things must hold, and do: p-values never rise, and a
comparison counts in the correction from the first look on (as p = 1 without a test), so that the number of tests never
grows.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np  # noqa: TID253 (imported when there is something to compute)

from fptkit.lab.studies.sequential import Array, anytime_p, anytime_same, interval_of_each_look, log_e

LEFT = (
    "the mean has left an interval that fewer seeds gave, so the differences are hardly normal, which p-values and "
    "intervals assume: look at the single seeds"
)
"""Note of a comparison whose mean `Evidence.has_left` an interval."""


@dataclass(frozen=True)
class Evidence:
    """Evidence of a pair after each seed that gives a difference; all arrays have one value for each of these seeds.

    Args:
        seeds: seeds that give a difference, ascending.
        log_e: logarithm of the e-value against no difference.
        p: anytime-valid p-value of a difference.
        p_same: anytime-valid p-value of equivalence; None without a margin.
        sign: sign of the mean difference when the evidence was greatest so far.
        low, high: interval of the mean of each look by itself; with 95 %, all of them contain it.
    """

    seeds: tuple[int, ...]
    log_e: Array
    p: Array
    p_same: Array | None
    sign: Array
    low: Array
    high: Array

    def pairs(self, first: int | None = None) -> int:
        """Number of differences that the first seeds of the study give; None: all seeds."""
        return len(self.seeds) if first is None else bisect_left(self.seeds, first)

    def p_after(self, first: int | None = None) -> float:
        """p-value of a difference after the first seeds of the study; 1 without a difference."""
        return _at(self.p, self.pairs(first))

    def p_same_after(self, first: int | None = None) -> float | None:
        """The same of equivalence; None without a margin."""
        return None if self.p_same is None else _at(self.p_same, self.pairs(first))

    def direction(self, first: int | None = None) -> float:
        """1 if the greatest evidence was for a higher mean, -1 for a lower one; 0 without a difference."""
        return _at(self.sign, self.pairs(first), empty=0.0)

    @property
    def e(self) -> float:
        """The e-value after all seeds."""
        return math.exp(min(float(self.log_e[-1]), 700.0)) if self.seeds else 0.0  # larger ones are no float

    @property
    def interval(self) -> tuple[float, float] | None:
        """Interval of the mean after all seeds; None if nothing is excluded yet.

        It is what the intervals of all looks have in common, the confidence sequence; if the observed mean `has_left`
        this, that of the last look. All looks hold together, so either may be taken.
        """
        if not self.seeds:
            return None
        low, high = (float(self.low[-1]), float(self.high[-1])) if self.has_left else self._common
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    @property
    def has_left(self) -> bool:
        """Whether the observed mean is outside of an interval that fewer seeds gave.

        Normal differences rarely do so. It is a sign of others, as when the training of some seeds does not take off.
        """
        if not self.seeds or not math.isfinite(self.low[-1]):
            return False
        low, high = self._common
        return not low <= (self.low[-1] + self.high[-1]) / 2 <= high

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        return [LEFT] if self.has_left else []

    @property
    def _common(self) -> tuple[float, float]:
        return float(self.low.max()), float(self.high.min())


def evidence_of(differences: Array, seeds: Sequence[int], margin: float | None, rounding: float) -> Evidence:
    """The evidence of paired differences.

    Args:
        differences: one for each seed, shape (n,).
        seeds: these seeds, ascending.
        margin: differences below this count as the same; None if there is none.
        rounding: differences this close are equal; must not depend on later seeds than the third.
    """
    count = np.arange(1, len(differences) + 1)
    values = log_e(differences, rounding=rounding)
    greatest = np.maximum.accumulate(np.where(values >= np.maximum.accumulate(values), count - 1, 0))
    low, high = interval_of_each_look(differences, rounding=rounding)
    return Evidence(
        seeds=tuple(seeds),
        log_e=values,
        p=anytime_p(differences, rounding=rounding),
        p_same=None if margin is None else anytime_same(differences, margin, rounding=rounding),
        sign=np.sign(np.cumsum(differences) / count)[greatest],
        low=low,
        high=high,
    )


def _at(values: Array, pairs: int, empty: float = 1.0) -> float:
    return float(values[pairs - 1]) if pairs else empty
