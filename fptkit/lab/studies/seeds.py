"""The seeds of each cell: fixed, or added until the comparisons are decided."""

from __future__ import annotations

from collections.abc import Mapping

from fptkit.lab.studies.cell_runs import Lookup
from fptkit.lab.studies.plan import CellName, StudyFacts


def seeds_of_cells(study: StudyFacts, lookup: Lookup) -> Mapping[CellName, tuple[int, ...]]:
    """The seeds that each cell needs, given what its runs have shown so far.

    A pure function, which the study and its results both call: a study that was killed finds the same seeds again.

    Args:
        study: the study.
        lookup: the outcome of a cell's trial.
    """
    return dict.fromkeys((cell.name for cell in study.cells), study.settings.first_seeds)
