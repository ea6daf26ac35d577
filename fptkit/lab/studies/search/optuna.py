"""Learning rates proposed one by one by Optuna's tree-structured Parzen estimator (TPE).

Source: Bergstra et al. 2011; Optuna's ``TPESampler`` (versions 4 and 5).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fptkit.errors import UsageError
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import SearchedCell, Trial
from fptkit.lab.studies.search.choice import Choice, Outcomes, Standing, choose, searching, standing, train_all
from fptkit.seeds import derive_seed

if TYPE_CHECKING:
    import optuna

DIGITS = 3
"""Significant digits of a proposed rate; more would add nothing but length in tables."""


def propose(settings: StudySettings, cell: SearchedCell, group: Sequence[int], outcomes: Outcomes) -> Choice:
    """Propose the next rate after the runs of the previous one have ended; finally choose among all tried rates.

    Each call replays the proposals from the outcomes. They are the same each time, since the sampler's seed is derived
    from the cell's name, and from the seed if each chooses for itself: seeds are independent repetitions of the search,
    too. Rates are between the smallest and the largest of the grid. The first third of them (at least three) is sampled
    log-uniformly, without regard to results.

    Raises:
        UsageError: Optuna is not installed.
    """
    search = settings.search
    lowest, highest = min(settings.learning_rates), max(settings.learning_rates)
    names = [str(cell.name), *(map(str, group) if settings.choose == "per_seed" else ())]
    proposals = _new_study(names, start=max(3, search.trials // 3))
    rates: list[float] = []
    for number in range(search.trials):
        proposal = proposals.ask()
        exact = proposal.suggest_float("learning_rate", lowest, highest, log=True)
        rate = min(max(float(f"{exact:.{DIGITS}g}"), lowest), highest)
        if requests := list(train_all(cell, [Trial(rate, seed) for seed in group], outcomes)):
            return searching(requests, len(group), f"rate {number + 1} of {search.trials}")
        _tell(proposals, proposal, standing(rate, group, cell, outcomes))
        rates.append(rate)
    return choose(cell, group, outcomes, sorted(set(rates)))


def _new_study(names: Sequence[str], start: int) -> optuna.Study:
    try:
        import optuna
    except ImportError as err:
        raise UsageError(
            "the search 'optuna' needs Optuna: pip install 'fptkit[optuna]', or search with 'grid' or 'halving'"
        ) from err
    optuna.logging.disable_default_handler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(seed=derive_seed(0, "optuna", *names) % 2**32, n_startup_trials=start)
        return optuna.create_study(direction="maximize", sampler=sampler)


def _tell(proposals: optuna.Study, proposal: Any, result: Standing) -> None:
    """Report a rate to Optuna: as pruned if it diverged, without a value if it failed."""
    from optuna.trial import TrialState

    if result.diverged:
        proposals.tell(proposal, state=TrialState.PRUNED)
    elif result.failed or result.score is None:
        proposals.tell(proposal, state=TrialState.FAIL)
    else:
        proposals.tell(proposal, result.score)
