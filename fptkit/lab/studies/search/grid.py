"""Grid search: every rate of the grid is trained to the end."""

from __future__ import annotations

from fptkit.lab.studies.cells import rates_of
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import Cell, Trial
from fptkit.lab.studies.search.choice import Outcomes, Step, choose_and_finish, search_seeds, searching, train_all


def grid_step(settings: StudySettings, cell: Cell, outcomes: Outcomes) -> Step:
    """Train every rate with every seed of the search, then choose. Without a grid, only the recipe's own rate."""
    rates = rates_of(settings, cell)
    trials = [Trial(rate, seed) for rate in rates for seed in search_seeds(settings)]
    if requests := train_all(cell, trials, outcomes):
        return searching(requests, len(trials))
    return choose_and_finish(settings, cell, outcomes, rates)
