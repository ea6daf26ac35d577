"""The questions of a study: two arms on all tasks, with the combined answer and the comparison on each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fptkit.lab.reporting.wording import metric_of
from fptkit.lab.studies.results import Measure, StudyResults
from fptkit.lab.studies.verdicts import Answer, Comparison


@dataclass(frozen=True)
class Question:
    """Two arms, on all tasks and fractions of the data.

    Args:
        a, b: the arms.
        comparisons: on each task, at least one.
        answer: the combined test over tasks; None in older files.
        lift: whether the arms differ in pretraining alone.
    """

    a: str
    b: str
    comparisons: tuple[Comparison, ...]
    answer: Answer | None = None
    lift: bool = False

    @property
    def single(self) -> bool:
        """Whether it is about one task, so that its comparison is its answer."""
        return len(self.comparisons) == 1

    def metric(self, results: StudyResults) -> Measure | None:
        """The metric of all its tasks; None if they have several."""
        metrics = {metric_of(results, one) for one in self.comparisons}
        return metrics.pop() if len(metrics) == 1 else None


def questions_of(results: StudyResults) -> tuple[Question, ...]:
    """The questions of a study, the pretraining lifts first; each pair of arms once, whatever its direction."""
    lifts = {frozenset((one.a, one.b)) for one in results.lifts}
    answers = {frozenset((one.a, one.b)): one for one in results.answers}
    pairs: dict[frozenset[str], dict[tuple[str, float], Comparison]] = {}
    for one in (*results.lifts, *results.comparisons):
        found = pairs.setdefault(frozenset((one.a, one.b)), {})
        found.setdefault((one.task, one.data_fraction), one)
    return tuple(
        _question(tuple(found.values()), answers.get(pair), lift=pair in lifts) for pair, found in pairs.items()
    )


def _question(compared: Sequence[Comparison], answer: Answer | None, *, lift: bool) -> Question:
    first = answer or compared[0]
    return Question(first.a, first.b, tuple(compared), answer, lift)
