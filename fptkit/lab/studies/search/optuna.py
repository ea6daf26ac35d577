"""Learning rates proposed one by one by Optuna's tree-structured Parzen estimator (TPE).

Source: Bergstra et al. 2011; Optuna's ``TPESampler`` (versions 4 and 5).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

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
    names = (str(cell.name), *(map(str, group) if settings.choose == "per_seed" else ()))
    space = _Space(names, min(settings.learning_rates), max(settings.learning_rates), start=max(3, search.trials // 3))
    rates: list[float] = []
    results: list[_Result] = []
    for number in range(search.trials):
        rate = _proposal(space, tuple(results))
        if requests := list(train_all(cell, [Trial(rate, seed) for seed in group], outcomes)):
            return searching(requests, len(group), f"rate {number + 1} of {search.trials}")
        results.append(_result(standing(rate, group, cell, outcomes)))
        rates.append(rate)
    return choose(cell, group, outcomes, sorted(set(rates)))


def runs_per_seed(settings: StudySettings, rates: int) -> int:
    """The number of rates that are tried."""
    return settings.search.trials


class _Space(NamedTuple):
    """What the proposals of a search depend on beside results: names for its seed, the range, the random start."""

    names: tuple[str, ...]
    lowest: float
    highest: float
    start: int


_Result = float | Literal["diverged", "failed"]


def _result(found: Standing) -> _Result:
    if found.diverged:
        return "diverged"
    return "failed" if found.failed or found.score is None else found.score


@lru_cache(maxsize=4096)
def _proposal(space: _Space, results: tuple[_Result, ...]) -> float:
    """The rate proposed after these results of the previous proposals.

    Cached, since a search is asked again after every run, of every seed.
    """
    study = _new_study(space)
    for result in results:
        proposal, _ = _ask(study, space)
        _tell(study, proposal, result)
    return _ask(study, space)[1]


def _ask(study: optuna.Study, space: _Space) -> tuple[optuna.Trial, float]:
    proposal = study.ask()
    exact = proposal.suggest_float("learning_rate", space.lowest, space.highest, log=True)
    return proposal, min(max(float(f"{exact:.{DIGITS}g}"), space.lowest), space.highest)


def _new_study(space: _Space) -> optuna.Study:
    try:
        import optuna
    except ImportError as err:
        raise UsageError(
            "the search 'optuna' needs Optuna: pip install 'fptkit[optuna]', or search with 'grid' or 'halving'"
        ) from err
    optuna.logging.disable_default_handler()
    seed = derive_seed(0, "optuna", *space.names) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=space.start)
        return optuna.create_study(direction="maximize", sampler=sampler)


def _tell(study: optuna.Study, proposal: optuna.Trial, result: _Result) -> None:
    """Report a rate to Optuna: as pruned if it diverged, without a value if it failed."""
    from optuna.trial import TrialState

    if result == "diverged":
        study.tell(proposal, state=TrialState.PRUNED)
    elif result == "failed":
        study.tell(proposal, state=TrialState.FAIL)
    else:
        study.tell(proposal, result)
