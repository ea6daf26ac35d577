"""Ranks of the arms on each task: arms that are not told apart share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from fptkit.lab.studies.comparisons import places_of
from fptkit.lab.studies.correction import holm_of
from fptkit.lab.studies.pairs import Pair, Scores, Tested, verdict_of
from fptkit.lab.studies.plan import CellName, StudyFacts
from fptkit.lab.studies.verdicts import Rank


def ranks_of(study: StudyFacts, scores: Mapping[CellName, Scores]) -> tuple[Rank, ...]:
    """Rank the arms on each task and fraction of the data.

    There are no ranks where a cell is incomplete, since they could change, or where two arms have fewer than three
    seeds in common. An arm whose cell is complete without enough results (every rate diverged) has no rank.

    Args:
        study: the study.
        scores: scores of every cell.
    """
    found: list[Rank] = []
    for task, fraction in places_of(study):
        here = {arm: scores[name] for arm in study.arms if (name := CellName(task, arm, fraction)) in scores}
        if all(one.complete for one in here.values()):
            found += _ranks(study, scores, task, fraction, [arm for arm, one in here.items() if _ranked(one)])
    return tuple(found)


def _ranked(cell: Scores) -> bool:
    from fptkit.lab.studies.statistics import MINIMUM_PAIRS

    return len(cell.test) >= MINIMUM_PAIRS


def _ranks(
    study: StudyFacts, scores: Mapping[CellName, Scores], task: str, fraction: float, arms: Sequence[str]
) -> list[Rank]:
    """1 plus the number of better arms, by tests corrected over all pairs of arms."""
    from fptkit.lab.studies.statistics import LEVEL

    tested = [Tested(Pair(task, fraction, a, b), scores, study.settings) for a, b in combinations(arms, 2)]
    if not tested or not all(one.enough for one in tested):
        return []
    above = dict.fromkeys(arms, 0)
    for one, p in zip(tested, holm_of([one.p for one in tested]), strict=True):
        verdict = verdict_of(one.direction, p, None, LEVEL)
        if verdict in ("better", "worse"):
            above[one.pair.b if verdict == "better" else one.pair.a] += 1
    return [Rank(task=task, data_fraction=fraction, arm=arm, rank=1 + above[arm]) for arm in arms]
