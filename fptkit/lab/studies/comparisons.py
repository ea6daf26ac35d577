"""The comparisons of a study, corrected within each question; the arithmetic is in `fptkit.lab.studies.statistics`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fptkit.lab.studies.correction import Corrected, corrected
from fptkit.lab.studies.pairs import Pair, Question, Scores, Tested, number, verdict_of
from fptkit.lab.studies.plan import CellName, StudyFacts
from fptkit.lab.studies.verdicts import Anytime, Comparison, Verdict

if TYPE_CHECKING:
    from fptkit.lab.studies.power import Critical

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
    found: dict[object, Corrected] = {}
    for members in by_question(tested):
        results = corrected([tested[pair] for pair in members])
        found.update(zip((pair.unordered for pair in members), results, strict=True))
    return tuple(_comparison(tested[pair], found[pair.unordered]) for pair in pairs)


def by_question(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """The pairs of each question, each pair of cells once, whatever its direction."""
    once = {pair.unordered: pair for pair in pairs}
    found: dict[Question, list[Pair]] = {}
    for pair in once.values():
        found.setdefault(pair.question, []).append(pair)
    return list(found.values())


def _comparison(tested: Tested, found: Corrected) -> Comparison:
    """The record of a comparison."""
    from fptkit.lab.studies.statistics import LEVEL, MINIMUM_PAIRS, hedges_g

    pair, pairs, mean, error = tested.pair, len(tested.seeds), tested.mean, tested.error
    verdict = verdict_of(tested.direction, found.p, found.p_same, LEVEL)
    figures: dict[str, Any] = {}
    if mean is not None and pairs >= MINIMUM_PAIRS:
        figures = (_at_fixed_number if tested.until is None else _at_any_time)(tested, found, verdict)
    return Comparison(
        task=pair.task,
        data_fraction=pair.data_fraction,
        a=pair.a,
        b=pair.b,
        seeds=tested.seeds,
        differences=tuple(map(float, tested.differences)),
        mean=mean,
        p=tested.p,
        p_holm=found.p,
        margin=tested.margin,
        p_same=tested.p_same,
        p_same_holm=found.p_same,
        effect_size=hedges_g(mean, error, pairs) if mean is not None else None,
        verdict=verdict,
        note=_note(tested, verdict),
        **{"interval": None, **figures},
    )


def _at_fixed_number(tested: Tested, found: Corrected, verdict: Verdict) -> dict[str, Any]:
    """Figures that are valid for a number of seeds that was fixed in advance."""
    from fptkit.lab.studies import statistics
    from fptkit.lab.studies.power import critical_t, resolution

    pairs, mean, error = len(tested.seeds), tested.mean or 0.0, tested.error
    deviation = error * math.sqrt(pairs)
    exact, rounding = pairs >= statistics.MINIMUM_EXACT, tested.rounding
    return {
        "interval": statistics.interval(mean, error, pairs) if error else None,
        "interval_bca": statistics.bca_interval(tested.differences, rounding=rounding) if exact and error else None,
        "t": number(float(tested.tests.t)) if tested.tests is not None else None,
        "degrees": pairs - 1 if error else None,
        "p_exact": statistics.sign_flip_p(tested.differences, rounding=rounding) if exact else None,
        "resolution": resolution(deviation, pairs) if error else None,
        "further_seeds": _further(tested, found, critical_t) if verdict == "undecided" else None,
    }


def _at_any_time(tested: Tested, found: Corrected, verdict: Verdict) -> dict[str, Any]:
    """Figures that are valid however often they were looked at. The others would not be, and are left out."""
    from fptkit.lab.studies.power import resolution
    from fptkit.lab.studies.sequential import anytime_critical_t

    evidence, pairs = tested.evidence, len(tested.seeds)
    deviation = tested.error * math.sqrt(pairs)
    return {
        "interval": evidence.interval,
        "resolution": resolution(deviation, pairs, critical=anytime_critical_t) if deviation else None,
        "further_seeds": _further(tested, found, anytime_critical_t) if verdict == "undecided" else None,
        "anytime": Anytime(
            e=evidence.e,
            p=tested.p,
            p_holm=found.p,
            p_same=tested.p_same,
            p_same_holm=found.p_same,
            decided_at=found.same_at if verdict == "same" else found.found_at,
        ),
    }


def _further(tested: Tested, found: Corrected, critical: Critical) -> int | None:
    """Further seeds that would decide. The correction multiplies p by the number of tests at most."""
    from fptkit.lab.studies.power import further_seeds
    from fptkit.lab.studies.statistics import LEVEL

    pairs, mean = len(tested.seeds), tested.mean or 0.0
    deviation = tested.error * math.sqrt(pairs)
    return further_seeds(mean, deviation, pairs, tested.margin, LEVEL / found.tests, critical=critical)


def _note(tested: Tested, verdict: Verdict) -> str:
    """Why there is no test, which other test was made, or what limits the verdict."""
    if not tested.like:
        return f"the arms have different metrics: {tested.a.metric.name} and {tested.b.metric.name}"
    without = [arm for arm, cell in ((tested.pair.a, tested.a), (tested.pair.b, tested.b)) if not cell.test]
    if without:
        return f"{' and '.join(without)} {'has' if len(without) == 1 else 'have'} no test result"
    pairs = len(tested.seeds)
    if not tested.enough:
        return f"{pairs} seed{'s' if pairs != 1 else ''} in common, a test needs 3"
    notes = []
    if tested.error == 0 and tested.mean and tested.until:
        notes.append(
            f"all differences are equal: the evidence is at most that of the sign-flip test, e = {2 ** (pairs - 1)}"
        )
    elif tested.error == 0 and tested.mean:
        notes.append(
            "all differences are equal: sign-flip test instead of Student's t, its smallest p is "
            f"{2.0 ** (1 - pairs):g}"
        )
    if tested.until and (tested.direction or 0) * (tested.mean or 0) < 0 and verdict in ("better", "worse"):
        notes.append("the mean has changed its sign since the evidence was greatest")
    if verdict in ("better", "worse") and tested.margin is not None and abs(tested.mean or 0) < tested.margin:
        notes.append("the difference is below the margin")
    notes += tested.evidence.notes if tested.until else []
    return "; ".join([*notes, *_without(tested)])


def _without(tested: Tested) -> list[str]:
    """Seeds that an arm has no result for, such as those at which every rate diverged."""
    return [
        f"without {'seed' if len(gone) == 1 else 'seeds'} {', '.join(map(str, gone))}: no test result of {arm}"
        for arm, cell in ((tested.pair.a, tested.a), (tested.pair.b, tested.b))
        if (gone := [seed for seed in cell.seeds if seed not in cell.test])
    ]
