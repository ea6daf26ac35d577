"""The seeds of each cell: fixed, or added until the comparisons are decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from fptkit.lab.studies.cell_runs import Lookup, runs_of
from fptkit.lab.studies.comparisons import asked_pairs, by_question, lift_pairs
from fptkit.lab.studies.correction import p_after
from fptkit.lab.studies.options import UntilDecided
from fptkit.lab.studies.pairs import Pair, Scores, Tested
from fptkit.lab.studies.plan import CellName, StudyFacts
from fptkit.lab.studies.results import Measure

NO_METRIC = Measure()


@dataclass(frozen=True)
class CellSeeds:
    """The seeds of all cells.

    Args:
        seeds: the seeds that each cell needs, given what its runs have shown so far.
        growing: cells that may need more, since a comparison with them is undecided.
        comparisons: number of comparisons that decide how many seeds there are; 0 if the number is fixed.
        undecided: number of those that are undecided and may get further seeds.
    """

    seeds: Mapping[CellName, tuple[int, ...]]
    growing: frozenset[CellName] = frozenset()
    comparisons: int = 0
    undecided: int = 0

    def of(self, name: CellName) -> tuple[tuple[int, ...], bool]:
        """The seeds of a cell, and whether it may need more."""
        return self.seeds[name], name in self.growing


@dataclass(frozen=True)
class SeedResult:
    """What one seed of a cell has given.

    Args:
        over: whether all its runs have ended; they may have failed or diverged.
        test: its test result; None if there is none.
        metric: the selection metric.
        higher_is_better: its direction.
    """

    over: bool
    test: float | None = None
    metric: Measure = NO_METRIC
    higher_is_better: bool = True


ResultOf = Callable[[CellName, int], SeedResult]
"""Gives what a seed of a cell has given so far."""


class SeedResults:
    """What each seed of each cell has given so far, in a study in which every seed chooses its own learning rate.

    Args:
        study: the study.
        lookup: the outcome of a cell's trial. Test results that it has given are remembered: they never change.
    """

    def __init__(self, study: StudyFacts, lookup: Lookup) -> None:
        # Runs that vary one source of randomness are not waited for.
        self._settings = study.settings.model_copy(update={"vary": ()})
        self._cells = {cell.name: cell for cell in study.cells}
        self._lookup = lookup
        self._tested: dict[tuple[CellName, int], SeedResult] = {}

    def __call__(self, name: CellName, seed: int) -> SeedResult:
        """The result of a seed of a cell."""
        if known := self._tested.get((name, seed)):
            return known
        runs = runs_of(self._settings, self._cells[name], [seed], partial(self._lookup, name))
        example = runs.example
        if example is None:
            return SeedResult(runs.over)
        metric = Measure(example.summary["selection"]["metric"], example.fraction)
        result = SeedResult(runs.over, runs.tested.get(seed), metric, example.higher_is_better)
        if result.over and result.test is not None:
            self._tested[name, seed] = result
        return result


def seeds_of_cells(study: StudyFacts, result_of: ResultOf) -> CellSeeds:
    """The seeds that each cell needs, given what its runs have shown so far.

    A pure function, which the study and its results both call: a study that was killed finds the same seeds again.

    Seeds that are added until decided are 0, 1, 2, ... and are added in rounds, for each question by itself. In a
    round, each undecided comparison is looked at after as many seeds as all others; if it stays undecided, it asks for
    the next one. A round begins when all runs of the one before are over, and sees no further seeds, even if a cell has
    them for another question. So neither the order in which runs end, nor the other questions, nor a kill change what a
    question asks for. A cell has the most seeds that any of its comparisons asks for. A comparison asks for no more if
    one of its arms has no result at all: most likely that arm cannot work.

    Args:
        study: the study.
        result_of: what a seed of a cell has given.
    """
    first = study.settings.first_seeds
    seeds = {cell.name: first for cell in study.cells}
    until = study.settings.until
    if until is None:
        return CellSeeds(seeds)
    questions = by_question([*asked_pairs(study), *lift_pairs(study)])
    names = dict.fromkeys(name for pairs in questions for pair in pairs for name in pair.cells)
    scores = {name: _scores(name, until, result_of) for name in names}
    still_open: list[Pair] = []
    for pairs in questions:
        asked, open_pairs = _rounds([Tested(pair, scores, study.settings) for pair in pairs], until)
        still_open += open_pairs
        for pair, number in asked.items():
            for name in pair.cells:
                seeds[name] = tuple(range(max(number, len(seeds[name]))))
    growing = frozenset(name for pair in still_open for name in pair.cells)
    return CellSeeds(seeds, growing, sum(map(len, questions)), len(still_open))


def _scores(name: CellName, until: UntilDecided, result_of: ResultOf) -> Scores:
    """The test results of a cell, up to the first seed that has runs left."""
    results = list(takewhile(lambda result: result.over, (result_of(name, seed) for seed in range(until.at_most))))
    test = {seed: result.test for seed, result in enumerate(results) if result.test is not None}
    example = next((result for result in results if result.metric.name), SeedResult(over=False))
    return Scores(test, tuple(range(len(results))), example.metric, example.higher_is_better)


def _rounds(members: Sequence[Tested], until: UntilDecided) -> tuple[Mapping[Pair, int], Sequence[Pair]]:
    """Number of seeds that each comparison of a question asks for, and the comparisons that may still ask for more."""
    from fptkit.lab.studies.statistics import LEVEL

    asked = {one.pair: until.at_least for one in members}
    still_open = list(members)
    for number in range(until.at_least, until.at_most + 1):
        asked.update((one.pair, number) for one in still_open)
        if any(len(cell.seeds) < number for one in still_open for cell in (one.a, one.b)):
            return asked, [one.pair for one in still_open]
        found = p_after(members, list(asked.values()))
        decided = {
            one.pair for one, both in zip(members, found, strict=True) if any(p is not None and p < LEVEL for p in both)
        }
        still_open = [one for one in still_open if one.pair not in decided and _can_be_decided(one, number)]
        if not still_open:
            break
    return asked, ()


def _can_be_decided(tested: Tested, number: int) -> bool:
    """Whether further seeds can lead to a test: not if an arm failed or diverged at every seed so far."""
    return tested.like and all(any(seed < number for seed in cell.test) for cell in (tested.a, tested.b))
