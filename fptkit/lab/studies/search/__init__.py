"""The learning rate search of a cell, as a pure function of the outcomes of its runs.

It keeps no state between calls: a study that was killed, or is run again, makes the same requests and the same choice
from the same runs, in whatever order they ended.
"""

from __future__ import annotations

from collections.abc import Mapping

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, Trial
from fptkit.lab.studies.search.choice import Step

__all__ = ["Step", "next_step"]


def next_step(settings: StudySettings, cell: Cell, outcomes: Mapping[Trial, Outcome]) -> Step:
    """Decide what a cell needs next.

    First all runs of the search, then the choice of the rate with the best mean validation, then the other seeds at
    that rate, then the test of every seed at that rate. Test results never affect the choice.

    Args:
        settings: settings of the study.
        cell: the cell.
        outcomes: outcomes of its runs; a trial without one has not started.

    Returns:
        The open requests, including those in progress, and the rate if it is chosen.

    Raises:
        UsageError: the search is ``optuna``, which is not installed.
    """
    if not settings.learning_rates:
        from fptkit.lab.studies.search.grid import grid_step as step
    elif settings.search.name == "halving":
        from fptkit.lab.studies.search.halving import halving_step as step
    elif settings.search.name == "optuna":
        from fptkit.lab.studies.search.optuna import optuna_step as step
    else:
        from fptkit.lab.studies.search.grid import grid_step as step
    return step(settings, cell, outcomes)
