"""What all searches share: when a run is over, which rate is chosen, and what follows the choice."""

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
    """How a cell stands.

    Args:
        requests: what is still to be carried out, what is under way included.
        chosen_rate: the learning rate, None as long as it is not chosen or where none can be.
        done: whether nothing more will be asked for; the cell may be incomplete all the same, ``reason`` then says why.
        reason: what is being waited for, what was left out of the choice, or what is missing.
    """

    requests: tuple[Request, ...]
    chosen_rate: float | None
    done: bool
    reason: str


@dataclass(frozen=True)
class Standing:
    """How a rate did in the search.

    Args:
        rate: which.
        score: mean validation over the seeds that have one, turned so that more is better; None without any.
        diverged: seeds at which it diverged.
        failed: seeds at which its run failed.
    """

    rate: float
    score: float | None
    diverged: int
    failed: int

    @property
    def sound(self) -> bool:
        """Whether every run gave a value."""
        return not self.diverged and not self.failed


def search_seeds(settings: StudySettings) -> tuple[int, ...]:
    """The seeds a rate is looked for with."""
    return settings.seeds[: settings.search.seeds]


def is_trained(cell: Cell, outcome: Outcome | None) -> bool:
    """Whether training has come to its end.

    It has, too, where the run is at work on the test or failed there: what is chosen must not hang on the test.
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
    """Whether training is over, for good or ill."""
    return outcome is not None and (outcome.over or is_trained(cell, outcome))


def standing(rate: float, seeds: Sequence[int], cell: Cell, outcomes: Outcomes) -> Standing:
    """How a rate did, all its runs being over."""
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
    """Validation, turned so that more is better; None where there is no number."""
    value = outcome.validation
    if value is None or math.isnan(value):
        return None
    return value if outcome.higher_is_better else -value


def choose(standings: Sequence[Standing]) -> tuple[float | None, str]:
    """The rate with the best mean validation; of equal ones the smallest.

    A rate that diverged at any seed is out. A rate with a failed run is out while there is one without; else those with
    the fewest failed runs are held against each other.

    Returns:
        The rate, None where none is left, and what there is to say about those that are out.
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
    """Requests to train those that are not over."""
    return tuple(Request(trial) for trial in trials if not is_settled(cell, outcomes.get(trial)))


def choose_and_finish(settings: StudySettings, cell: Cell, outcomes: Outcomes, rates: Sequence[float]) -> Step:
    """Choose among rates whose search runs are all over, and go on with the choice."""
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
    """A step of which the search is not over.

    Args:
        requests: what is still to be carried out.
        runs: how many requests there were.
        stage: which part of the search it is.
    """
    over = f"search: {runs - len(requests)} of {runs} runs over"
    return Step(tuple(requests), None, False, f"{over}, {stage}" if stage else over)
