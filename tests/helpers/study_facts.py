"""A study without recipes, and made-up scores of its cells, for tests of what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.pairs import Scores
from fptkit.lab.studies.plan import CellFacts, CellName, StudyFacts
from fptkit.lab.studies.results import Measure
from fptkit.recipe.models import TrainOptions

ACCURACY = Measure("accuracy", fraction=True)

Table = Mapping[tuple[str, str], Sequence[float]]
"""Test results of the seeds 0, 1, ... by task and arm."""


def facts(
    tasks: Sequence[str] = ("xor",),
    arms: Sequence[str] = ("a", "b"),
    *,
    fractions: Sequence[float] = (1.0,),
    freezing: Mapping[str, str] | None = None,
    **settings: Any,
) -> StudyFacts:
    """A study of these tasks and arms; ``freezing`` is the policy of each arm that does not have ``fpt``."""
    names = [CellName(task, arm, fraction) for task in tasks for fraction in fractions for arm in arms]
    return StudyFacts(
        name="made_up",
        profile=None,
        settings=StudySettings(**settings),
        tasks=tuple(tasks),
        arms=tuple(arms),
        arm_summaries={},
        cells=tuple(CellFacts(name, TrainOptions(), {"name": (freezing or {}).get(name.arm, "fpt")}) for name in names),
        skipped={},
        code_version="code",
    )


def scores(study: StudyFacts, table: Table, metrics: Mapping[str, Measure] | None = None) -> dict[CellName, Scores]:
    """Scores of every cell; a cell that is not in the table has no result."""
    found = {}
    for cell in study.cells:
        values = list(map(float, table.get((cell.name.task, cell.name.arm), ())))
        metric = (metrics or {}).get(cell.name.task, ACCURACY)
        found[cell.name] = Scores(dict(enumerate(values)), study.settings.first_seeds, metric, complete=bool(values))
    return found
