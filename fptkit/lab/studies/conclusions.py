"""What a study concludes from the test results of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fptkit.lab.studies.answers import answers_of
from fptkit.lab.studies.comparisons import asked_pairs, comparisons_of, lift_pairs
from fptkit.lab.studies.pairs import Scores
from fptkit.lab.studies.plan import CellName, StudyFacts
from fptkit.lab.studies.ranks import ranks_of
from fptkit.lab.studies.verdicts import Answer, Comparison, Rank


@dataclass(frozen=True)
class Conclusions:
    """What a study concludes; the fields are those of `fptkit.lab.studies.results.StudyResults`."""

    comparisons: tuple[Comparison, ...]
    lifts: tuple[Comparison, ...]
    answers: tuple[Answer, ...]
    ranks: tuple[Rank, ...]


def conclusions_of(study: StudyFacts, scores: Mapping[CellName, Scores]) -> Conclusions:
    """Make all comparisons of a study, and what follows from them.

    Args:
        study: the study, which names the arms to compare.
        scores: scores of every cell.
    """
    lifts, asked = lift_pairs(study), asked_pairs(study)
    return Conclusions(
        comparisons=comparisons_of(asked, lifts, scores, study),
        lifts=comparisons_of(lifts, asked, scores, study),
        answers=answers_of([*lifts, *asked], scores, study),
        ranks=ranks_of(study, scores),
    )
