"""Successive halving: all rates start, and only the better ones continue after each rung.

Source: Jamieson and Talwalkar 2016, algorithm 1, with a fixed number of rungs; a rung is a number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from fptkit.lab.studies.cells import rates_of
from fptkit.lab.studies.options import SearchOptions, StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Request, SearchedCell, Trial
from fptkit.lab.studies.search.choice import (
    Choice,
    Outcomes,
    choose,
    is_settled,
    is_trained,
    score_of,
    searching,
    train_all,
)
from fptkit.recipe.models import TrainOptions


def rung_steps(search: SearchOptions, train: TrainOptions) -> tuple[int, ...]:
    """Steps at which rates are compared before the end of training, ascending.

    Each rung is ``keep`` times as long as the previous one; the last is the full training. Steps are rounded down to a
    multiple of ``validate_every`` (at least one), so that each rung has a validation. Rungs that coincide with another
    or with the end are dropped.

    Args:
        search: ``keep`` and ``rungs``.
        train: ``max_steps`` and ``validate_every``.
    """
    every = train.validate_every
    shares = (train.max_steps // search.keep**above for above in range(search.rungs - 1, 0, -1))
    steps = {max(share // every, 1) * every for share in shares}
    return tuple(sorted(step for step in steps if step < train.max_steps))


def halving(settings: StudySettings, cell: SearchedCell, group: Sequence[int], outcomes: Outcomes) -> Choice:
    """Request rung after rung, then choose among the remaining rates.

    A rung is decided when all runs of the group have reached it. A run that continued counts with its best validation
    so far, which can only be higher, so a repeated call finds the same rates ahead. (This includes runs that another
    study continued.)
    """
    rates = rates_of(settings, cell)
    for step in rung_steps(settings.search, cell.train):
        trials = [Trial(rate, seed) for rate in rates for seed in group]
        if requests := [Request(t, until_step=step) for t in trials if not _reached(cell, outcomes.get(t), step)]:
            return searching(requests, len(trials), f"to step {step}")
        kept = math.ceil(len(rates) / settings.search.keep)
        scores = {rate: _score_at(rate, group, step, cell, outcomes) for rate in rates}
        alive = [rate for rate in rates if scores[rate] > -math.inf]
        if not alive:
            return _choose(settings, cell, group, outcomes, rates)
        rates = tuple(sorted(sorted(alive, key=lambda rate: (-scores[rate], rate))[:kept]))
    trials = [Trial(rate, seed) for rate in rates for seed in group]
    if requests := list(train_all(cell, trials, outcomes)):
        return searching(requests, len(trials))
    return _choose(settings, cell, group, outcomes, rates)


def _choose(
    settings: StudySettings, cell: SearchedCell, group: Sequence[int], outcomes: Outcomes, rates: Sequence[float]
) -> Choice:
    """Choose among the remaining rates; if none can be chosen, the reason is limited to these."""
    choice = choose(cell, group, outcomes, rates)
    if choice.rate is None and len(rates) < len(rates_of(settings, cell)):
        return replace(choice, reason=f"{choice.reason} (of the rates left at the last rung)")
    return choice


def _reached(cell: SearchedCell, outcome: Outcome | None, step: int) -> bool:
    """Whether a run has reached a step, or never will."""
    return outcome is not None and (is_settled(cell, outcome) or outcome.validated_step >= step)


def _score_at(rate: float, group: Sequence[int], step: int, cell: SearchedCell, outcomes: Outcomes) -> float:
    """Mean validation over the group; -inf if a run diverged or failed before this step."""
    total = 0.0
    for seed in group:
        outcome = outcomes[Trial(rate, seed)]
        score = score_of(outcome)
        if score is None or not (is_trained(cell, outcome) or outcome.validated_step >= step):
            return -math.inf
        total += score
    return total / len(group)
