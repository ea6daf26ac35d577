"""The search for a cell's learning rate, as a pure function of what is known of its runs.

Nothing is remembered between two calls: a study that was killed, or is run again, asks the same questions of the same
runs and comes to the same answers, whatever order they ended in.
"""

from __future__ import annotations

from collections.abc import Mapping

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, Trial
from fptkit.lab.studies.search.choice import Step

__all__ = ["Step", "next_step"]


def next_step(settings: StudySettings, cell: Cell, outcomes: Mapping[Trial, Outcome]) -> Step:
    """What a cell needs next.

    First every run of the search, then the rate with the best mean validation, then the other seeds at that rate, then
    the tests of all seeds at that rate. Test results are never looked at.

    Args:
        settings: of the study.
        cell: which.
        outcomes: what is known of its runs; those not in it have not begun.

    Returns:
        The requests still to be carried out, a request that is being carried out among them.

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
