"""Successive halving: all rates start, and at each rung the better share of them goes on.

Source: Jamieson and Talwalkar 2016, algorithm 1, with a fixed number of rungs; a rung is a number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from fptkit.lab.studies.cells import rates_of
from fptkit.lab.studies.options import SearchOptions, StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, Request, Trial
from fptkit.lab.studies.search.choice import (
    Outcomes,
    Step,
    choose_and_finish,
    is_settled,
    is_trained,
    score_of,
    search_seeds,
    searching,
    train_all,
)
from fptkit.recipe.models import TrainOptions


def rung_steps(search: SearchOptions, train: TrainOptions) -> tuple[int, ...]:
    """Steps at which rates are held against each other before the end, ascending.

    Each rung is ``keep`` times as long as the one before it and the last is the whole training. They are rounded down
    to a multiple of ``validate_every``, at least one: there is a validation then. Rungs that fall together, or on the
    end, are left out.
    """
    every = train.validate_every
    shares = (train.max_steps // search.keep**above for above in range(search.rungs - 1, 0, -1))
    steps = {max(share // every, 1) * every for share in shares}
    return tuple(sorted(step for step in steps if step < train.max_steps))


def halving_step(settings: StudySettings, cell: Cell, outcomes: Outcomes) -> Step:
    """Rung after rung, then the choice among the rates that are left.

    A rung is decided when all its runs have reached it. A run that went on counts with the best validation it has had
    since; this can only be more, so that a study that is asked again finds the same rates ahead. (A run that another
    study carried further counts with that.)
    """
    seeds, rates = search_seeds(settings), rates_of(settings, cell)
    for step in rung_steps(settings.search, cell.loaded.recipe.train):
        trials = [Trial(rate, seed) for rate in rates for seed in seeds]
        if requests := [Request(t, until_step=step) for t in trials if not _reached(cell, outcomes.get(t), step)]:
            return searching(requests, len(trials), f"to step {step}")
        kept = math.ceil(len(rates) / settings.search.keep)
        scores = {rate: _score_at(rate, seeds, step, cell, outcomes) for rate in rates}
        alive = [rate for rate in rates if scores[rate] > -math.inf]
        if not alive:
            return _finish(settings, cell, outcomes, rates)
        rates = tuple(sorted(sorted(alive, key=lambda rate: (-scores[rate], rate))[:kept]))
    trials = [Trial(rate, seed) for rate in rates for seed in seeds]
    if requests := list(train_all(cell, trials, outcomes)):
        return searching(requests, len(trials))
    return _finish(settings, cell, outcomes, rates)


def _finish(settings: StudySettings, cell: Cell, outcomes: Outcomes, rates: Sequence[float]) -> Step:
    """The choice among the rates that are left; where none can be chosen, it is not said of those given up before."""
    step = choose_and_finish(settings, cell, outcomes, rates)
    if step.chosen_rate is None and len(rates) < len(rates_of(settings, cell)):
        return replace(step, reason=f"{step.reason} that was left at the last rung")
    return step


def _reached(cell: Cell, outcome: Outcome | None, step: int) -> bool:
    """Whether a run came to a step, or will never."""
    return outcome is not None and (is_settled(cell, outcome) or outcome.validated_step >= step)


def _score_at(rate: float, seeds: tuple[int, ...], step: int, cell: Cell, outcomes: Outcomes) -> float:
    """Mean validation over the seeds; the least where a run did not come so far: it diverged or failed before."""
    total = 0.0
    for seed in seeds:
        outcome = outcomes[Trial(rate, seed)]
        score = score_of(outcome)
        if score is None or not (is_trained(cell, outcome) or outcome.validated_step >= step):
            return -math.inf
        total += score
    return total / len(seeds)
