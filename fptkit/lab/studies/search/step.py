"""What a cell needs next: the search of each group of seeds, the runs at the chosen rates, the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import Request, SearchedCell, Trial
from fptkit.lab.studies.search.choice import Choice, Outcomes, best_of, is_trained, standing, train_all
from fptkit.lab.studies.search.chosen import search

Seeds = Sequence[int]
Choices = Mapping[tuple[int, ...], Choice]
"""State of the search of each group of seeds."""


@dataclass(frozen=True)
class Step:
    """State of a cell.

    Args:
        requests: open requests, including those in progress.
        chosen_rates: the chosen learning rate of each seed; a seed is left out before its choice, or if it has none.
        done: whether there will be no more requests; if the cell is incomplete, ``reason`` says why.
        reason: what the search waits for, which rates were excluded, or what is missing.
        common_rate: with a choice for each seed, the one rate that is reported beside it; else None.
    """

    requests: tuple[Request, ...]
    chosen_rates: Mapping[int, float] = field(default_factory=dict)
    done: bool = False
    reason: str = ""
    common_rate: float | None = None


def next_step(
    settings: StudySettings, cell: SearchedCell, seeds: Seeds, outcomes: Outcomes, *, growing: bool = False
) -> Step:
    """Decide what a cell needs next.

    First all runs of the search; then each seed, or all seeds together, choose the rate with the best validation; then
    the runs at the chosen rates that the search did not make; then their tests. Test results never affect a choice.

    With a choice for each seed, the tests at the best common rate are evaluated as well, for reports that show both.
    If the study varies single sources of randomness, the runs for it are made and tested last, see `varied_trials`.

    Args:
        settings: settings of the study.
        cell: the cell.
        seeds: its seeds, see `fptkit.lab.studies.seeds`.
        outcomes: outcomes of its runs; a trial without one has not started.
        growing: whether seeds may still be added. Runs that depend on all seeds, for the common rate, or that no
            comparison needs, wait until none can be.

    Returns:
        The open requests, including those in progress, and the rates chosen so far.

    Raises:
        UsageError: the search is ``optuna``, which is not installed.
    """
    groups = groups_of(settings, seeds)
    choices = {group: search(settings, cell, group, outcomes) for group in groups}
    chosen = _chosen_rates(settings, seeds, choices)
    if any(choice.requests for choice in choices.values()):
        requests = tuple(request for choice in choices.values() for request in choice.requests)
        return Step(requests, chosen, reason=_waiting(choices.values()))
    notes = _notes(choices)
    trials = [Trial(rate, seed) for seed, rate in chosen.items()]
    if training := train_all(cell, trials, outcomes):
        return Step(training, chosen, reason=notes)
    common = _common_rate(cell, choices, outcomes) if settings.choose == "per_seed" and not growing else None
    beside = [] if common is None else [Trial(common, seed) for seed in _trained_at(common, cell, choices, outcomes)]
    tests = tuple(
        Request(trial, open_test=True)
        for trial in dict.fromkeys([*trials, *beside])
        if outcomes[trial].status not in ("finished", "failed", "diverged")
    )
    varied = [] if growing else varied_trials(settings, cell, chosen)
    if requests := (*tests, *_run_and_test(cell, varied, outcomes)):
        return Step(requests, chosen, reason=notes, common_rate=common)
    missing = [f"{t.words} {outcomes[t].status}" for t in [*trials, *varied] if outcomes[t].status != "finished"]
    return Step((), chosen, True, "; ".join(filter(None, [notes, ", ".join(missing)])), common)


def varied_trials(settings: StudySettings, cell: SearchedCell, chosen: Mapping[int, float]) -> list[Trial]:
    """The trials that vary one source of randomness, at the rate of the first seed, whose seed the others keep.

    Args:
        settings: ``vary``, and the seeds: each but the first is given to every source once.
        cell: the cell.
        chosen: the chosen learning rate of each seed; without that of the first there are no trials.
    """
    rate = chosen.get(settings.first_seeds[0])
    return [] if rate is None else [Trial(rate, seed, name) for name, seed in varied_seeds(settings, cell)]


def varied_seeds(settings: StudySettings, cell: SearchedCell) -> list[tuple[str, int]]:
    """The sources of randomness that are varied alone in a cell, each with its seeds.

    Data are varied only if the cell's runs draw some. Without a fraction of the training split these are random splits,
    which have seed 0 in the runs of the study's seeds.
    """
    pairs = [(name, seed) for name in settings.vary for seed in settings.first_seeds[1:]]
    known = ("data", 0) if cell.train.data_fraction == 1 else None
    return [pair for pair in pairs if pair != known and (pair[0] != "data" or cell.draws_data)]


def _run_and_test(cell: SearchedCell, trials: Sequence[Trial], outcomes: Outcomes) -> list[Request]:
    """Requests to train the trials, and to test each that is trained."""
    requests: list[Request] = []
    for trial in trials:
        if train := train_all(cell, [trial], outcomes):
            requests += train
        elif outcomes[trial].status not in ("finished", "failed", "diverged"):
            requests.append(Request(trial, open_test=True))
    return requests


def groups_of(settings: StudySettings, seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """The groups of seeds that each choose one rate: every seed alone, or the seeds of the search together.

    Args:
        settings: ``choose``, and ``search.seeds`` for a common choice.
        seeds: seeds of the cell.
    """
    if settings.choose == "per_seed":
        return [(seed,) for seed in seeds]
    return [tuple(seeds[: settings.search.seeds])]


def _chosen_rates(settings: StudySettings, seeds: Seeds, choices: Choices) -> dict[int, float]:
    """The rate of each seed that has one: with a common choice, also of seeds that did not search."""
    if settings.choose == "common":
        (rate,) = (choice.rate for choice in choices.values())
        return {} if rate is None else dict.fromkeys(seeds, rate)
    return {seed: choice.rate for (seed,), choice in choices.items() if choice.rate is not None}


def _common_rate(cell: SearchedCell, choices: Choices, outcomes: Outcomes) -> float | None:
    """The rate with the best mean validation over all seeds.

    Rates that diverged at a seed are excluded. Of the others, those are compared that most seeds trained to the end;
    None if that is at most half of the seeds, since a mean over a few is no result of a common rate.
    """
    standings = []
    for rate in sorted({rate for choice in choices.values() for rate in choice.compared}):
        there = [seed for group, choice in choices.items() if rate in choice.compared for seed in group]
        found = standing(rate, there, cell, outcomes)
        standings.append(replace(found, failed=found.failed + len(choices) - len(there)))
    best = best_of(standings)
    if best is None or 2 * len(_trained_at(best, cell, choices, outcomes)) <= len(choices):
        return None
    return best


def _trained_at(rate: float, cell: SearchedCell, choices: Choices, outcomes: Outcomes) -> list[int]:
    """Seeds whose search trained a rate to the end.

    A rate that a search gave up does not count, even if another study trained it further: results must not depend on
    other studies.
    """
    there = [seed for group, choice in choices.items() if rate in choice.compared for seed in group]
    return [seed for seed in there if is_trained(cell, outcomes[Trial(rate, seed)])]


def _waiting(choices: Iterable[Choice]) -> str:
    """How far the unfinished searches are."""
    unfinished = [choice for choice in choices if choice.requests]
    runs = sum(choice.runs for choice in unfinished)
    over = runs - sum(len(choice.requests) for choice in unfinished)
    stages = dict.fromkeys(choice.reason for choice in unfinished if choice.reason)
    return ", ".join([f"search: {over} of {runs} runs ended", *stages])


def _notes(choices: Choices) -> str:
    """Which rates were excluded and why, and which seeds have no rate."""
    diverged, failed = Counter[float](), Counter[float]()
    for standing_out in (one for choice in choices.values() for one in choice.out):
        diverged[standing_out.rate] += standing_out.diverged
        failed[standing_out.rate] += 0 if standing_out.diverged else standing_out.failed
    notes = []
    for rate in sorted({*diverged, *failed}):
        counts = ((diverged[rate], "diverged"), (failed[rate], "failed"))
        what = ", ".join(f"{count} run{'' if count == 1 else 's'} {how}" for count, how in counts if count)
        notes.append(f"rate {rate:g}: {what}")
    without: dict[str, list[int]] = {}
    for group, choice in choices.items():
        if choice.rate is None:
            without.setdefault(choice.reason, []).extend(group)
    for reason, seeds in without.items():
        everywhere = len(without) == 1 and all(choice.rate is None for choice in choices.values())
        notes.append(reason if everywhere else f"{_seeds(seeds)}: {reason}")
    return "; ".join(notes)


def _seeds(seeds: Seeds) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
