"""The comparisons of a study, corrected within each question; the arithmetic is in `fptkit.lab.studies.statistics`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from fptkit.lab.studies.pairs import Pair, Question, Scores, Tested, number, verdict_of
from fptkit.lab.studies.plan import CellName, StudyFacts
from fptkit.lab.studies.verdicts import Comparison, Verdict

SAME_ARCHITECTURE = ("frozen_random", "unfrozen_random", "statistics_only", "synthetic_pretrained")
"""Controls that differ from the reference only in their weights, if they have the same freezing. The reference minus
such a control is a pretraining lift."""


def asked_pairs(study: StudyFacts) -> list[Pair]:
    """The pairs that a study asks for: those it lists, else every arm with the reference; on every task it has."""
    asked = study.settings.comparisons or tuple((arm, study.reference) for arm in study.arms if arm != study.reference)
    return _possible(study, (Pair(*place, a, b) for place in places_of(study) for a, b in asked))


def lift_pairs(study: StudyFacts) -> list[Pair]:
    """The pretraining lifts: the reference against each control that has its architecture and freezing."""
    freezing = {cell.name: cell.freezing for cell in study.cells}
    pairs = [Pair(*place, study.reference, arm) for place in places_of(study) for arm in SAME_ARCHITECTURE]
    wanted = [pair for pair in pairs if pair.b in study.settings.controls]
    return [pair for pair in _possible(study, wanted) if freezing[pair.cells[0]] == freezing[pair.cells[1]]]


def places_of(study: StudyFacts) -> list[tuple[str, float]]:
    """Every task with every fraction of its data."""
    return list(dict.fromkeys((cell.name.task, cell.name.data_fraction) for cell in study.cells))


def _possible(study: StudyFacts, pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs of cells that exist."""
    names = {cell.name for cell in study.cells}
    return [pair for pair in pairs if names.issuperset(pair.cells)]


def comparisons_of(
    pairs: Sequence[Pair], others: Sequence[Pair], scores: Mapping[CellName, Scores], study: StudyFacts
) -> tuple[Comparison, ...]:
    """Make comparisons, corrected by Holm's method within the question that two arms pose on all tasks.

    Args:
        pairs: the comparisons to make.
        others: further pairs of the study, which count in the correction if they pose the same questions. A pair counts
            once, whatever its direction.
        scores: scores of every cell.
        study: the study.
    """
    tested = {pair: Tested(pair, scores, study.settings) for pair in [*pairs, *others]}
    once = {pair.unordered: pair for pair in tested}
    of_question: dict[Question, list[Pair]] = {}
    for pair in once.values():
        of_question.setdefault(pair.question, []).append(pair)
    p_holm: dict[object, float | None] = {}
    p_same_holm: dict[object, float | None] = {}
    for members in of_question.values():
        keys = [pair.unordered for pair in members]
        p_holm.update(zip(keys, holm_of([tested[pair].p for pair in members]), strict=True))
        p_same_holm.update(zip(keys, holm_of([tested[pair].p_same for pair in members]), strict=True))
    return tuple(
        _comparison(
            tested[pair],
            p_holm[pair.unordered],
            p_same_holm[pair.unordered],
            sum(tested[one].p is not None for one in of_question[pair.question]),
        )
        for pair in pairs
    )


def holm_of(p: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of the p-values that there are."""
    import numpy as np

    from fptkit.lab.studies.statistics import holm

    given = np.array([math.nan if value is None else value for value in p])
    return list(map(number, holm(given)))


def _comparison(tested: Tested, p_holm: float | None, p_same_holm: float | None, tests: int) -> Comparison:
    """The record of a comparison; ``tests`` is the number of tests in its question."""
    from fptkit.lab.studies import statistics

    pair, pairs, mean, error = tested.pair, len(tested.seeds), tested.mean, tested.error
    deviation = error * math.sqrt(pairs)
    exact = pairs >= statistics.MINIMUM_EXACT
    verdict = verdict_of(mean, p_holm, p_same_holm, statistics.LEVEL)
    t = number(float(tested.tests.t)) if tested.tests is not None and tested.enough else None
    further = None
    if verdict == "undecided" and mean is not None:
        # The correction multiplies p by the number of tests at most.
        further = statistics.further_seeds(mean, deviation, pairs, tested.margin, statistics.LEVEL / tests)
    return Comparison(
        task=pair.task,
        data_fraction=pair.data_fraction,
        a=pair.a,
        b=pair.b,
        seeds=tested.seeds,
        differences=tuple(map(float, tested.differences)),
        mean=mean,
        interval=statistics.interval(mean, error, pairs) if mean is not None and error and tested.enough else None,
        interval_bca=statistics.bca_interval(tested.differences, rounding=tested.rounding) if exact and error else None,
        t=t,
        degrees=pairs - 1 if t is not None else None,
        p=tested.p,
        p_holm=p_holm,
        p_exact=statistics.sign_flip_p(tested.differences, rounding=tested.rounding) if exact else None,
        margin=tested.margin,
        p_same=tested.p_same,
        p_same_holm=p_same_holm,
        resolution=statistics.resolution(deviation, pairs) if error and tested.enough else None,
        further_seeds=further,
        effect_size=statistics.hedges_g(mean, error, pairs) if mean is not None else None,
        verdict=verdict,
        note=_note(tested, verdict),
    )


def _note(tested: Tested, verdict: Verdict) -> str:
    """Why there is no test, which other test was made, or what limits the verdict."""
    if not tested.like:
        return f"the arms have different metrics: {tested.a.metric.name} and {tested.b.metric.name}"
    for arm, cell in ((tested.pair.a, tested.a), (tested.pair.b, tested.b)):
        if not cell.test:
            return f"{arm} has no test result"
    pairs = len(tested.seeds)
    if not tested.enough:
        return f"{pairs} seed{'s' if pairs != 1 else ''} in common, a test needs 3"
    notes = []
    if tested.error == 0 and tested.mean:
        notes.append(
            "all differences are equal: sign-flip test instead of Student's t, its smallest p is "
            f"{2.0 ** (1 - pairs):g}"
        )
    if verdict in ("better", "worse") and tested.margin is not None and abs(tested.mean or 0) < tested.margin:
        notes.append("the difference is below the margin")
    return "; ".join([*notes, *_without(tested)])


def _without(tested: Tested) -> list[str]:
    """Seeds that an arm has no result for, such as those at which every rate diverged."""
    return [
        f"without {'seed' if len(gone) == 1 else 'seeds'} {', '.join(map(str, gone))}: no test result of {arm}"
        for arm, cell in ((tested.pair.a, tested.a), (tested.pair.b, tested.b))
        if (gone := [seed for seed in cell.seeds if seed not in cell.test])
    ]
