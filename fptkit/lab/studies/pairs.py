"""Two arms on one task, paired by seed: the tests behind comparisons, answers and ranks, before any correction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import CellName
from fptkit.lab.studies.results import Measure
from fptkit.lab.studies.verdicts import Verdict

if TYPE_CHECKING:
    from fptkit.lab.studies.looks import Evidence
    from fptkit.lab.studies.statistics import Array, Tests

Question = frozenset[str]
"""The two arms that a question compares, over all tasks."""


@dataclass(frozen=True)
class Scores:
    """Test results of a cell, as a comparison needs them.

    Args:
        test: the selection metric on the first test split by seed, each at its own rate, in the order of the seeds.
        seeds: all seeds of the cell.
        metric: the selection metric.
        higher_is_better: direction of the metric.
        complete: whether every run of the cell is finished.
    """

    test: Mapping[int, float]
    seeds: tuple[int, ...]
    metric: Measure
    higher_is_better: bool = True
    complete: bool = True


class Pair(NamedTuple):
    """Two arms to compare on one task and fraction of the data, ``a`` minus ``b``."""

    task: str
    data_fraction: float
    a: str
    b: str

    @property
    def question(self) -> Question:
        """The two arms, in no order."""
        return frozenset((self.a, self.b))

    @property
    def unordered(self) -> tuple[str, float, Question]:
        """A key that is the same for a against b and b against a."""
        return self.task, self.data_fraction, self.question

    @property
    def cells(self) -> tuple[CellName, CellName]:
        """Names of the two cells."""
        return CellName(self.task, self.a, self.data_fraction), CellName(self.task, self.b, self.data_fraction)


class Tested:
    """The tests of one pair.

    Args:
        pair: the pair.
        scores: scores of every cell.
        settings: settings of the study, for the margin.

    Attributes:
        seeds: seeds that both arms have a result for.
        metric: the metric of both.
        margin: differences below this count as the same; None if there is none.
        until: how seeds are added until decided; p-values are then valid at any time. None for a fixed number.
    """

    def __init__(self, pair: Pair, scores: Mapping[CellName, Scores], settings: StudySettings) -> None:
        self.pair = pair
        self.a, self.b = (scores[name] for name in pair.cells)
        self.metric = self.a.metric if self.a.metric.name else self.b.metric
        self.seeds = tuple(seed for seed in self.a.test if seed in self.b.test) if self.like else ()
        self.margin = settings.margin_on(pair.task, fraction=self.metric.fraction) if self.metric.name else None
        self.until = settings.until

    @property
    def like(self) -> bool:
        """Whether both arms have the same metric; an arm without runs has none yet."""
        return "" in (self.a.metric.name, self.b.metric.name) or self.a.metric == self.b.metric

    @property
    def enough(self) -> bool:
        """Whether there are enough seeds for a test."""
        from fptkit.lab.studies.statistics import MINIMUM_PAIRS

        return len(self.seeds) >= MINIMUM_PAIRS

    @cached_property
    def _signed(self) -> tuple[Array, Array]:
        import numpy as np

        sign = 1.0 if self.a.higher_is_better else -1.0
        first, second = (sign * np.array([cell.test[seed] for seed in self.seeds]) for cell in (self.a, self.b))
        return first, second

    @cached_property
    def differences(self) -> Array:
        """One difference for each seed, signed so that above 0 means ``a`` is better."""
        first, second = self._signed
        return first - second

    @cached_property
    def rounding(self) -> float:
        """Differences this close are equal."""
        from fptkit.lab.studies.statistics import rounding_of

        return float(rounding_of(*self._signed))

    @cached_property
    def tests(self) -> Tests | None:
        """The paired tests; None for fewer than two pairs."""
        from fptkit.lab.studies.statistics import paired_tests

        return paired_tests(*self._signed) if len(self.seeds) >= 2 else None

    @property
    def mean(self) -> float | None:
        """Mean difference; None without a pair."""
        if self.tests is not None:
            return float(self.tests.mean)
        return float(self.differences[0]) if self.seeds else None

    @property
    def error(self) -> float:
        """Standard error of the mean; 0 if all differences are equal or there are fewer than two."""
        return float(self.tests.standard_error) if self.tests is not None else 0.0

    @cached_property
    def early_rounding(self) -> float:
        """`rounding` without seeds after the third, before which there is no evidence: it never changes with more."""
        from fptkit.lab.studies.statistics import MINIMUM_PAIRS, rounding_of

        first, second = (values[:MINIMUM_PAIRS] for values in self._signed)
        return float(rounding_of(first, second)) if self.seeds else 0.0

    @cached_property
    def evidence(self) -> Evidence:
        """What the differences show after each seed."""
        from fptkit.lab.studies.looks import evidence_of

        return evidence_of(self.differences, self.seeds, self.margin, self.early_rounding)

    @property
    def p(self) -> float | None:
        """Two-sided p-value; None without enough seeds."""
        if self.tests is None or not self.enough:
            return None
        return float(self.tests.p) if self.until is None else self.evidence.p_after()

    @property
    def p_same(self) -> float | None:
        """p-value of equivalence; None without enough seeds or without a margin."""
        from fptkit.lab.studies.statistics import equivalence

        if self.margin is None or self.mean is None or not self.enough:
            return None
        if self.until is not None:
            return self.evidence.p_same_after()
        return float(equivalence(self.mean, self.error, len(self.seeds), self.margin))

    @property
    def direction(self) -> float | None:
        """A number with the sign of the difference that ``p`` tests; None without a pair."""
        return self.mean if self.until is None or not self.seeds else self.evidence.direction()


def verdict_of(mean: float | None, p: float | None, p_same: float | None, level: float) -> Verdict:
    """The verdict: a difference comes before equivalence.

    Args:
        mean: difference, or only its sign.
        p: p-value of a difference, corrected where it must be; None if there is no test.
        p_same: the same of equivalence.
        level: a verdict needs a p below this.
    """
    if mean is None or p is None:
        return "not enough evidence"
    if p < level:
        return "better" if mean > 0 else "worse"
    return "same" if p_same is not None and p_same < level else "undecided"


def number(value: float) -> float | None:
    """A value for a record: None for NaN."""
    return None if math.isnan(value) else float(value)
