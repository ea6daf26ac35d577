"""Shared parts of all searches: when a run has ended, and which rate a group of seeds chooses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Request, SearchedCell, Trial

Outcomes = Mapping[Trial, Outcome]


@dataclass(frozen=True)
class Choice:
    """State of the search of a group of seeds that choose one rate.

    Args:
        requests: open requests, including those in progress; none after the choice.
        rate: the chosen learning rate; None before the choice or if no rate can be chosen.
        reason: why no rate can be chosen, or what an unfinished search is doing.
        compared: the rates that were compared at the end of training.
        out: those of them that are excluded, since runs diverged or failed; empty if ``reason`` says it of all.
        runs: number of runs in this stage of an unfinished search.
    """

    requests: tuple[Request, ...]
    rate: float | None = None
    reason: str = ""
    compared: tuple[float, ...] = ()
    out: tuple[Standing, ...] = ()
    runs: int = 0


@dataclass(frozen=True)
class Standing:
    """Result of a learning rate in the search.

    Args:
        rate: the learning rate.
        score: mean validation over the seeds that have one, signed so that higher is better; None if none has.
        diverged: number of seeds whose run diverged.
        failed: number of seeds whose run failed.
    """

    rate: float
    score: float | None
    diverged: int
    failed: int

    @property
    def sound(self) -> bool:
        """Whether no run diverged or failed."""
        return not self.diverged and not self.failed


def is_trained(cell: SearchedCell, outcome: Outcome | None) -> bool:
    """Whether training is complete.

    It also is if the run is being tested or failed during the test: the choice must not depend on the test.
    """
    if outcome is None:
        return False
    if outcome.status in ("validated", "finished"):
        return True
    done = outcome.summary
    return (
        outcome.status != "diverged"
        and outcome.validation is not None
        and (
            done.get("status") in ("validated", "finished")
            or done.get("times_tested", 0) > 0
            or outcome.validated_step >= cell.train.max_steps
        )
    )


def is_settled(cell: SearchedCell, outcome: Outcome | None) -> bool:
    """Whether training has ended, completed or not."""
    return outcome is not None and (outcome.over or is_trained(cell, outcome))


def standing(rate: float, seeds: Sequence[int], cell: SearchedCell, outcomes: Outcomes) -> Standing:
    """Summarise the results of a rate after all its runs have ended.

    Args:
        rate: the learning rate.
        seeds: seeds that count.
        cell: the cell.
        outcomes: outcomes of the cell's trials; must include this rate with every seed.
    """
    scores, diverged, failed = [], 0, 0
    for seed in seeds:
        outcome = outcomes[Trial(rate, seed)]
        score = score_of(outcome)
        if outcome.status == "diverged":
            diverged += 1
        elif score is None or not is_trained(cell, outcome):
            failed += 1
        else:
            scores.append(score)
    return Standing(rate, fmean(scores) if scores else None, diverged, failed)


def score_of(outcome: Outcome) -> float | None:
    """Validation, signed so that higher is better; None if missing or not a number."""
    value = outcome.validation
    if value is None or math.isnan(value):
        return None
    return value if outcome.higher_is_better else -value


def best_of(standings: Sequence[Standing]) -> float | None:
    """The rate with the best mean validation, the smallest if several are equal; None if none is left.

    Rates with a diverged run are excluded. Of the others, only those with the fewest failed runs are compared.
    """
    left = [s for s in standings if not s.diverged and s.score is not None]
    if not left:
        return None
    fewest = min(s.failed for s in left)
    return min((s for s in left if s.failed == fewest), key=lambda s: (-(s.score or 0.0), s.rate)).rate


def choose(cell: SearchedCell, group: Sequence[int], outcomes: Outcomes, rates: Sequence[float]) -> Choice:
    """Choose among rates after all their runs have ended.

    Args:
        cell: the cell.
        group: seeds that choose one rate.
        outcomes: outcomes of the cell's trials.
        rates: the learning rates to choose from.
    """
    standings = [standing(rate, group, cell, outcomes) for rate in rates]
    rate = best_of(standings)
    out = tuple(s for s in standings if not s.sound)
    reason = ""
    if rate is None and all(s.diverged for s in standings):
        reason, out = "diverged at every rate", ()
    elif rate is None and not any(s.diverged for s in standings):
        reason, out = "every run failed", ()
    elif rate is None:
        reason = "every rate diverged or failed"
    return Choice((), rate, reason, tuple(rates), out)


def train_all(cell: SearchedCell, trials: Sequence[Trial], outcomes: Outcomes) -> tuple[Request, ...]:
    """Requests to train the trials that have not ended."""
    return tuple(Request(trial) for trial in trials if not is_settled(cell, outcomes.get(trial)))


def searching(requests: Sequence[Request], runs: int, stage: str = "") -> Choice:
    """The choice of an unfinished search.

    Args:
        requests: open requests.
        runs: number of runs in this stage.
        stage: name of the stage.
    """
    return Choice(tuple(requests), reason=stage, runs=runs)
