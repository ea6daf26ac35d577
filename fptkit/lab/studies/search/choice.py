"""Shared parts of all searches: when a run has ended, which rate is chosen, and what follows the choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, Request, Trial

Outcomes = Mapping[Trial, Outcome]


@dataclass(frozen=True)
class Step:
    """State of a cell's search.

    Args:
        requests: open requests, including those in progress.
        chosen_rate: the chosen learning rate; None before the choice or if no rate can be chosen.
        done: whether there will be no more requests; if the cell is incomplete, ``reason`` says why.
        reason: what the search waits for, which rates were excluded, or what is missing.
    """

    requests: tuple[Request, ...]
    chosen_rate: float | None
    done: bool
    reason: str


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


def search_seeds(settings: StudySettings) -> tuple[int, ...]:
    """Seeds used to search for the rate."""
    return settings.seeds[: settings.search.seeds]


def is_trained(cell: Cell, outcome: Outcome | None) -> bool:
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
            or outcome.validated_step >= cell.loaded.recipe.train.max_steps
        )
    )


def is_settled(cell: Cell, outcome: Outcome | None) -> bool:
    """Whether training has ended, completed or not."""
    return outcome is not None and (outcome.over or is_trained(cell, outcome))


def standing(rate: float, seeds: Sequence[int], cell: Cell, outcomes: Outcomes) -> Standing:
    """Summarise the results of a rate after all its runs have ended.

    Args:
        rate: the learning rate.
        seeds: seeds of the search.
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


def choose(standings: Sequence[Standing]) -> tuple[float | None, str]:
    """Choose the rate with the best mean validation; the smallest if several are equal.

    Rates with a diverged run are excluded. Of the others, only those with the fewest failed runs are compared.

    Returns:
        The rate, None if none is left; and a note on the rates with diverged or failed runs.
    """
    out = [s for s in standings if not s.sound]
    notes = "; ".join(_why_out(s) for s in out)
    left = [s for s in standings if not s.diverged and s.score is not None]
    if not left:
        if all(s.diverged for s in standings):
            return None, "diverged at every rate"
        return None, notes if any(s.diverged for s in standings) else "every run failed"
    fewest = min(s.failed for s in left)
    best = min((s for s in left if s.failed == fewest), key=lambda s: (-(s.score or 0.0), s.rate))
    return best.rate, notes


def _why_out(standing: Standing) -> str:
    runs = standing.diverged or standing.failed
    what = "diverged" if standing.diverged else "failed"
    return f"rate {standing.rate:g}: {runs} {'run' if runs == 1 else 'runs'} {what}"


def train_all(cell: Cell, trials: Sequence[Trial], outcomes: Outcomes) -> tuple[Request, ...]:
    """Requests to train the trials that have not ended."""
    return tuple(Request(trial) for trial in trials if not is_settled(cell, outcomes.get(trial)))


def choose_and_finish(settings: StudySettings, cell: Cell, outcomes: Outcomes, rates: Sequence[float]) -> Step:
    """Choose among rates after all their search runs have ended; then request the other seeds and the tests.

    Args:
        settings: settings of the study.
        cell: the cell.
        outcomes: outcomes of the cell's trials.
        rates: the learning rates to choose from.
    """
    seeds = search_seeds(settings)
    rate, notes = choose([standing(rate, seeds, cell, outcomes) for rate in rates])
    if rate is None:
        return Step((), None, True, notes)
    trials = [Trial(rate, seed) for seed in settings.seeds]
    if training := train_all(cell, trials, outcomes):
        return Step(training, rate, False, notes)
    tests = tuple(
        Request(trial, open_test=True)
        for trial in trials
        if outcomes[trial].status not in ("finished", "failed", "diverged")
    )
    if tests:
        return Step(tests, rate, False, notes)
    missing = [f"seed {t.seed} {outcomes[t].status}" for t in trials if outcomes[t].status != "finished"]
    return Step((), rate, True, "; ".join(filter(None, [notes, ", ".join(missing)])))


def searching(requests: Sequence[Request], runs: int, stage: str = "") -> Step:
    """The step of an unfinished search.

    Args:
        requests: open requests.
        runs: number of runs in this stage.
        stage: name of the stage.
    """
    over = f"search: {runs - len(requests)} of {runs} runs ended"
    return Step(tuple(requests), None, False, f"{over}, {stage}" if stage else over)
