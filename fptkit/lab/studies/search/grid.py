"""Grid search: every rate of the grid is trained to the end."""

from __future__ import annotations

from collections.abc import Sequence

from fptkit.lab.studies.cells import rates_of
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import SearchedCell, Trial
from fptkit.lab.studies.search.choice import Choice, Outcomes, choose, searching, train_all


def grid(settings: StudySettings, cell: SearchedCell, group: Sequence[int], outcomes: Outcomes) -> Choice:
    """Train every rate with every seed of the group, then choose. Without a grid, only the recipe's own rate."""
    rates = rates_of(settings, cell)
    trials = [Trial(rate, seed) for rate in rates for seed in group]
    if requests := train_all(cell, trials, outcomes):
        return searching(requests, len(trials))
    return choose(cell, group, outcomes, rates)
