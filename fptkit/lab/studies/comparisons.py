"""Compares arms of a study; the arithmetic is in `fptkit.lab.studies.statistics`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fptkit.lab.studies.plan import CellName, Study
from fptkit.lab.studies.verdicts import Comparison, Verdict

if TYPE_CHECKING:
    from fptkit.lab.studies.statistics import Tests

SAME_ARCHITECTURE = ("frozen_random", "unfrozen_random", "statistics_only", "synthetic_pretrained")
"""Controls that differ from the reference only in their weights, if they have the same freezing. The reference minus
such a control is a pretraining lift."""


@dataclass(frozen=True)
class Scores:
    """The selection metric of a cell by seed, as a comparison needs it.

    Args:
        test: on the first test split, at the chosen rate.
        validation: on validation, at the chosen rate.
        other_rates: on validation, at each other rate.
        higher_is_better: direction of the metric.
    """

    test: Mapping[int, float]
    validation: Mapping[int, float]
    other_rates: Sequence[Mapping[int, float]]
    higher_is_better: bool = True


@dataclass(frozen=True)
class _Pair:
    """Two arms to compare on one task and fraction of the data."""

    task: str
    data_fraction: float
    a: str
    b: str

    @property
    def unordered(self) -> tuple[str, float, frozenset[str]]:
        """A key that is the same for a against b and b against a."""
        return self.task, self.data_fraction, frozenset((self.a, self.b))


def comparisons_and_lifts(
    study: Study, scores: Mapping[CellName, Scores]
) -> tuple[tuple[Comparison, ...], tuple[Comparison, ...]]:
    """Make all comparisons of a study, corrected together for multiple testing.

    Args:
        study: the study, which names the arms to compare.
        scores: scores of every cell.

    Returns:
        The comparisons the study asks for, and the pretraining lifts.
    """
    asked = study.settings.comparisons or tuple((arm, study.reference) for arm in study.arms if arm != study.reference)
    places = list(dict.fromkeys((cell.name.task, cell.name.data_fraction) for cell in study.cells))
    pairs = [_Pair(*place, a, b) for place in places for a, b in asked]
    lifts = [_Pair(*place, study.reference, arm) for place in places for arm in _lift_controls(study, *place)]
    # One comparison per pair of arms, whatever its direction: the correction must not count a question twice.
    found = {
        pair.unordered: _Found(pair, scores, study)
        for pair in [*lifts, *pairs]
        if all(CellName(pair.task, arm, pair.data_fraction) in scores for arm in (pair.a, pair.b))
    }
    p_holm = _corrected({key: one.p for key, one in found.items()})
    p_verdict = _corrected({key: one.p_allowed for key, one in found.items()})

    def told(wanted: Iterable[_Pair]) -> tuple[Comparison, ...]:
        return tuple(
            found[pair.unordered].told(pair, p_holm[pair.unordered], p_verdict[pair.unordered])
            for pair in wanted
            if pair.unordered in found
        )

    return told(pairs), told(lifts)


def _lift_controls(study: Study, task: str, data_fraction: float) -> list[str]:
    """Controls on one task and fraction of the data that have the reference's architecture and freezing."""
    freezing = {
        cell.name.arm: cell.loaded.recipe.freezing
        for cell in study.cells
        if (cell.name.task, cell.name.data_fraction) == (task, data_fraction)
    }
    return [
        name
        for name in SAME_ARCHITECTURE
        if name in study.settings.controls
        and name in freezing
        and study.reference in freezing
        and freezing[name] == freezing[study.reference]
    ]


def _corrected(p: Mapping[tuple[str, float, frozenset[str]], float | None]) -> dict[object, float | None]:
    """Apply Holm's correction to all comparisons with a test."""
    import numpy as np

    from fptkit.lab.studies.statistics import holm

    given = np.array([math.nan if value is None else value for value in p.values()])
    return dict(zip(p, map(_number, holm(given)), strict=True))


class _Found:
    """The tests of one pair of arms, before correction."""

    def __init__(self, pair: _Pair, scores: Mapping[CellName, Scores], study: Study) -> None:
        from fptkit.lab.studies.statistics import MINIMUM_PAIRS

        self._pair = pair
        self._a, self._b = (scores[CellName(pair.task, arm, pair.data_fraction)] for arm in (pair.a, pair.b))
        self._seeds = [seed for seed in study.settings.seeds if seed in self._a.test and seed in self._b.test]
        self._sign = 1.0 if self._a.higher_is_better else -1.0
        self.allowance = 0.0
        self._tests: Tests | None = None
        if len(self._seeds) >= 2:
            self._test(min(study.settings.search.seeds or len(self._seeds), len(self._seeds)))
        self._enough = len(self._seeds) >= MINIMUM_PAIRS

    def _test(self, search_seeds: int) -> None:
        """Make the paired test, with allowances for rates chosen with ``search_seeds`` seeds."""
        import numpy as np

        from fptkit.lab.studies.statistics import paired_tests, standard_error_of_differences

        a, b = (self._sign * np.array([cell.test[seed] for seed in self._seeds]) for cell in (self._a, self._b))
        validation_error = 0.0
        if self._a.other_rates or self._b.other_rates:
            loser = self._b if a.mean() > b.mean() else self._a
            self.allowance = _largest_gain(loser, self._seeds, self._sign)
            both = [seed for seed in self._seeds if seed in self._a.validation and seed in self._b.validation]
            if len(both) >= 2:
                chosen = [np.array([cell.validation[seed] for seed in both]) for cell in (self._a, self._b)]
                spread = float(standard_error_of_differences(*chosen))
                validation_error = spread * math.sqrt(len(both) / min(search_seeds, len(both)))
        self._tests = paired_tests(a, b, allowance=self.allowance, validation_error=validation_error)

    @property
    def p(self) -> float | None:
        """p of the paired test; None if there is no test."""
        return float(self._tests.p) if self._tests is not None and self._enough else None

    @property
    def p_allowed(self) -> float | None:
        """p after the allowances; None if there is no test."""
        return float(self._tests.p_allowed) if self._tests is not None and self._enough else None

    def told(self, pair: _Pair, p_holm: float | None, p_verdict: float | None) -> Comparison:
        """The comparison as a record, in the direction of ``pair``."""
        from fptkit.lab.studies.statistics import LEVEL, hedges_g, interval, mean_and_error

        direction = 1.0 if pair.a == self._pair.a else -1.0
        first, second = (self._a, self._b) if direction > 0 else (self._b, self._a)
        differences = tuple(self._sign * (first.test[seed] - second.test[seed]) for seed in self._seeds)
        mean = mean_and_error(differences)[0]
        bounds = effect = t = None
        pairs = len(differences)
        if self._tests is not None:
            mean = direction * float(self._tests.mean)
            error = float(self._tests.standard_error)
            bounds = interval(mean, error, pairs) if error else None
            effect = hedges_g(mean, error, pairs)
            t = _number(direction * float(self._tests.t)) if self._enough else None
        return Comparison(
            task=pair.task,
            data_fraction=pair.data_fraction,
            a=pair.a,
            b=pair.b,
            differences=differences,
            mean=mean,
            interval=bounds,
            t=t,
            degrees=pairs - 1 if t is not None else None,
            p=self.p,
            p_holm=p_holm,
            allowance=self.allowance,
            p_verdict=p_verdict,
            effect_size=effect,
            verdict=_verdict(mean, p_verdict, LEVEL),
            note=self._note(p_holm, p_verdict, LEVEL),
        )

    def _note(self, p_holm: float | None, p_verdict: float | None, level: float) -> str:
        for arm, cell in ((self._pair.a, self._a), (self._pair.b, self._b)):
            if not cell.test:
                return f"{arm} has no test result"
        if self._tests is None or p_holm is None or p_verdict is None:
            return f"{len(self._seeds)} seed{'s' if len(self._seeds) != 1 else ''} in common, a test needs 3"
        notes = []
        if self._tests.standard_error == 0 and self._tests.mean != 0:
            smallest = 2.0 ** (1 - len(self._seeds))
            notes.append(
                f"all differences are equal: sign-flip test instead of Student's t, its smallest p is {smallest:g}"
            )
        if p_holm < level <= p_verdict:
            notes.append("the choice of the learning rate may account for it")
        return "; ".join(notes)


def _largest_gain(cell: Scores, seeds: Sequence[int], sign: float) -> float:
    import numpy as np

    from fptkit.lab.studies.statistics import largest_gain

    there = [seed for seed in seeds if seed in cell.validation]
    if not cell.other_rates or not there:
        return 0.0
    chosen = sign * np.array([cell.validation[seed] for seed in there])
    others = sign * np.array([[rate.get(seed, math.nan) for seed in there] for rate in cell.other_rates])
    return float(largest_gain(chosen, others))


def _verdict(mean: float | None, p: float | None, level: float) -> Verdict:
    if mean is None or p is None:
        return "not enough evidence"
    if p >= level:
        return "no difference found"
    return "better" if mean > 0 else "worse"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
