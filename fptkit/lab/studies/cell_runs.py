"""The runs of one cell, found by replaying its search on the outcomes of its trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import CellFacts, CellName, Trial
from fptkit.lab.studies.search import next_step, varied_trials
from fptkit.lab.studies.search.choice import is_trained

Lookup = Callable[[CellName, Trial], Outcome]
"""Gives the outcome of a cell's trial; of one that has not started, the outcome ``waiting``."""


@dataclass(frozen=True)
class CellRuns:
    """The runs of one cell that its search requested.

    Args:
        cell: the cell.
        seeds: its seeds.
        outcomes: outcome of every trial, by rate and then seed in the order of the study.
        chosen_rates: the rate of each seed, chosen on validation; a seed without one is left out.
        common_rate: with a choice for each seed, the one rate that is reported beside it; else None.
        missing: trials that the cell still needs, and failed ones.
        reason: which seeds have no rate and why, or which rates were excluded.
        varied: outcome of every trial that varies one source of randomness, by source and then seed. They count for
            nothing but the noise of that source.
        growing: whether seeds may still be added.
    """

    cell: CellFacts
    seeds: tuple[int, ...]
    outcomes: Mapping[Trial, Outcome]
    chosen_rates: Mapping[int, float]
    common_rate: float | None
    missing: frozenset[Trial]
    reason: str = ""
    varied: Mapping[Trial, Outcome] = field(default_factory=dict)
    growing: bool = False

    @property
    def rates(self) -> list[float]:
        """The tried rates, ascending."""
        return sorted({trial.learning_rate for trial in self.outcomes})

    def at(self, rate: float) -> dict[int, Outcome]:
        """Outcomes at a learning rate, by seed."""
        return {trial.seed: outcome for trial, outcome in self.outcomes.items() if trial.learning_rate == rate}

    @property
    def chosen(self) -> dict[int, Outcome]:
        """Outcome of each seed at its own rate."""
        trials = {seed: Trial(self.chosen_rates[seed], seed) for seed in self.seeds if seed in self.chosen_rates}
        return {seed: self.outcomes[trial] for seed, trial in trials.items() if trial in self.outcomes}

    @property
    def example(self) -> Outcome | None:
        """A run to read shared facts from: preferably a finished one, and one at a chosen rate."""
        runs = [*self.chosen.values(), *self.outcomes.values()]
        told = [outcome for outcome in runs if outcome.summary.get("selection")]
        return next(iter([outcome for outcome in told if outcome.status == "finished"] + told), None)

    @property
    def tested(self) -> dict[int, float]:
        """Result on the first test split by seed, each at its own rate."""
        return {seed: value for seed, outcome in self.chosen.items() if is_number(value := test_value(outcome))}

    @property
    def over(self) -> bool:
        """Whether every run has ended, with a result or without."""
        outcomes = {**self.outcomes, **self.varied}
        return all(outcomes[trial].status == "failed" for trial in self.missing)

    def validated(self, outcomes: Mapping[int, Outcome]) -> dict[int, float]:
        """Validation by seed, for runs of this cell that reached the step the search requested."""
        return {
            seed: float(value)
            for seed, outcome in outcomes.items()
            if (outcome.status == "paused" or is_trained(self.cell, outcome))
            and (value := outcome.validation) is not None
            and math.isfinite(value)
        }


def runs_of(
    settings: StudySettings,
    cell: CellFacts,
    seeds: Sequence[int],
    lookup: Callable[[Trial], Outcome],
    *,
    growing: bool = False,
) -> CellRuns:
    """Replay a cell's search on the known outcomes, so that the same code chooses the rates as in the study.

    Args:
        settings: settings of the study.
        cell: the cell.
        seeds: its seeds, see `fptkit.lab.studies.seeds`.
        lookup: the outcome of a trial of this cell.
        growing: whether seeds may still be added.
    """
    known: dict[Trial, Outcome] = {}
    while True:
        step = next_step(settings, cell, seeds, known, growing=growing)
        unknown = [request.trial for request in step.requests if request.trial not in known]
        if not unknown:
            break
        known.update((trial, lookup(trial)) for trial in unknown)
    places = {seed: place for place, seed in enumerate(seeds)}
    in_order = sorted(known, key=lambda trial: (trial.learning_rate, places[trial.seed]))
    varied = varied_trials(settings, cell, step.chosen_rates)
    failed = {trial for trial, outcome in known.items() if outcome.status == "failed"}
    return CellRuns(
        cell=cell,
        seeds=tuple(seeds),
        outcomes={trial: known[trial] for trial in in_order if not trial.varied},
        chosen_rates={seed: step.chosen_rates[seed] for seed in seeds if seed in step.chosen_rates},
        common_rate=step.common_rate,
        missing=frozenset(failed | {request.trial for request in step.requests}),
        reason=step.reason if step.done else "",
        varied={trial: known[trial] for trial in varied if trial in known},
        growing=growing,
    )


def test_value(outcome: Outcome) -> Any:
    """The selection metric on the first test split; None if it was not evaluated."""
    found = outcome.summary.get("metrics", {}).get("test", {})
    split = next(iter(found), None)
    return found[split].get(outcome.summary.get("selection", {}).get("metric")) if split else None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a summary is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)
