"""What the cells of a study need next: the requests of the search, and the outcomes of their runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from fptkit.lab.studies.address import address_of, data_of
from fptkit.lab.studies.cells import recipe_for_trial
from fptkit.lab.studies.job import LOG
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, CellName, Request, Study, Trial, run_name
from fptkit.lab.studies.progress import CellProgress, CellState, StudyProgress, first_line
from fptkit.lab.studies.results import run_folder
from fptkit.lab.studies.search import Step, most_runs, next_step, search_of, varied_seeds
from fptkit.lab.studies.seeds import SeedResults, seeds_of_cells
from fptkit.recipe.load import LoadedRecipe


@dataclass
class CellNeeds:
    """State of a cell.

    Args:
        cell: the cell.
        outcomes: known outcomes of its trials.
        step: what the search requests next.
    """

    cell: Cell
    outcomes: dict[Trial, Outcome] = field(default_factory=dict)
    step: Step = field(init=False)


@dataclass(frozen=True)
class Missing:
    """A failed run.

    Args:
        cell: its cell; a run shared by several cells is reported for each.
        trial: its learning rate and seed.
        outcome: its outcome, with the reason.
        folder: folder of the run, with its log.
    """

    cell: CellName
    trial: Trial
    outcome: Outcome
    folder: Path

    @property
    def text(self) -> str:
        """The failure in one line."""
        return f"{run_name(self.cell, self.trial)}: {first_line(self.outcome.reason)} (log: {self.folder / LOG})"


class Needs:
    """Tracks what a study's cells need as runs end here and in other processes.

    Args:
        study: the study.
        ledger: the open ledger of its folder.
        retry_failed: whether to retry runs that failed in an earlier call.

    Attributes:
        known: outcome of every run the search has requested so far, by address.
        elsewhere: addresses of runs in progress in other processes.
    """

    def __init__(self, study: Study, ledger: Ledger, *, retry_failed: bool) -> None:
        self.known: dict[str, Outcome] = {}
        self.elsewhere: set[str] = set()
        self._study = study
        self._ledger = ledger
        self._retry_failed = retry_failed
        self._facts = study.facts
        self._cells = [CellNeeds(cell) for cell in study.cells]
        self._by_name = {needs.cell.name: needs for needs in self._cells}
        self._users: dict[str, list[tuple[CellNeeds, Trial]]] = {}
        self._addresses: dict[tuple[int, Trial], str] = {}
        self._recipes: dict[str, LoadedRecipe] = {}
        self._results = SeedResults(self._facts, self._known_outcome)
        self._seeds = seeds_of_cells(self._facts, self._results)

    def look(self) -> None:
        """Update every cell's seeds and requests."""
        self._update(self._cells)

    def requests(self) -> Iterator[tuple[str, str, Request]]:
        """Address, name and request of all open requests, in the order to start them.

        Tests come first: they are short and complete a cell. Then cell by cell, so that the first results come early;
        within a cell seed by seed, so that its curve over rates comes early, too. Runs that vary one source of
        randomness come last: no comparison waits for them.
        """
        everything = [
            (not request.open_test, bool(request.trial.varied), place, request.trial.seed, number, needs, request)
            for place, needs in enumerate(self._cells)
            for number, request in enumerate(needs.step.requests)
        ]
        for *_, needs, request in sorted(everything, key=lambda entry: entry[:5]):
            yield self._address(needs, request.trial), run_name(needs.cell.name, request.trial), request

    def recipe(self, address: str) -> LoadedRecipe:
        """Recipe of a run that `requests` returned."""
        return self._recipes[address]

    def data(self, address: str) -> str:
        """Digest of the data of a run that `requests` returned; empty if it has no files."""
        loaded = self._recipes[address]
        return data_of(loaded.recipe, loaded.registry, self._study.data)

    def still_asks(self, address: str, request: Request) -> bool:
        """Whether any cell still has this request for a run."""
        return any(request in needs.step.requests for needs, trial in self._users[address] if trial == request.trial)

    def learn(self, outcome: Outcome) -> None:
        """Record the outcome of a run, and update the cells it belongs to."""
        self.known[outcome.address] = outcome
        users = self._users.get(outcome.address, [])
        for needs, trial in users:
            needs.outcomes[trial] = outcome
        self._update([needs for needs, _ in users])

    def refresh(self, address: str) -> str | None:
        """Update the outcome of a run from the ledger; return its name if it ended in another process."""
        before = self.known[address]
        outcome = self._ledger.outcome(address)
        was_elsewhere = address in self.elsewhere
        if outcome.status == "running":
            self.elsewhere.add(address)
        else:
            self.elsewhere.discard(address)
        if outcome == before:
            return None
        self.learn(outcome)
        needs, trial = self._users[address][0]
        return run_name(needs.cell.name, trial) if was_elsewhere and outcome.status != "running" else None

    def failures(self) -> list[Missing]:
        """Runs that failed for good, for each cell they belong to."""
        return [
            Missing(needs.cell.name, trial, outcome, run_folder(self._ledger.folder, outcome.address))
            for needs in self._cells
            for trial, outcome in needs.outcomes.items()
            if outcome.status == "failed"
        ]

    def progress(self, under_way: Collection[str], *, seconds_each: float | None, slots: int) -> StudyProgress:
        """The progress of the study.

        Args:
            under_way: addresses of the runs in progress in this process.
            seconds_each: mean time per run, None if unknown.
            slots: number of concurrent runs.
        """
        # A run with only its test left is trained; the test takes very little time.
        missing = {address for address, _, request in self.requests() if not request.open_test}
        failed = sum(outcome.status == "failed" for outcome in self.known.values())
        to_come = sum(map(self._to_come, self._cells))
        count = len(missing) + to_come
        left = None if seconds_each is None else seconds_each * count / min(slots, count or 1)
        return StudyProgress(
            title=self._study.name + (f" ({self._study.profile})" if self._study.profile else ""),
            cells=[self._cell_progress(needs, under_way) for needs in self._cells],
            done=len(self.known) - len(missing) - failed,
            runs=len(self.known) + to_come,
            most=self._most_of_all(),
            comparisons=self._seeds.comparisons,
            undecided=self._seeds.undecided,
            running=len(under_way),
            elsewhere=len(self.elsewhere),
            failed=failed,
            seconds_left=left,
        )

    def _cell_progress(self, needs: CellNeeds, under_way: Collection[str]) -> CellProgress:
        wanted = {request.trial for request in needs.step.requests}
        at_work = {*under_way, *self.elsewhere}
        running = sum(self._address(needs, trial) in at_work for trial in wanted)
        failed = sum(outcome.status == "failed" for outcome in needs.outcomes.values())
        status: CellState = "waiting"
        most = self._most(needs)
        if not wanted and most is None:
            status = "failed" if failed else "done"
        elif running:
            status = "running"
        rate, validation = _best_rate(needs)
        return CellProgress(
            name=needs.cell.name,
            state=status,
            done=len(needs.outcomes) - len(wanted) - failed,
            runs=self._runs(needs),
            most=most,
            running=running,
            rate=rate,
            validation=validation,
            chosen=bool(needs.step.chosen_rates),
        )

    def _runs(self, needs: CellNeeds) -> int:
        """Number of runs of a cell that are known so far."""
        return len(needs.outcomes) + self._to_come(needs)

    def _to_come(self, needs: CellNeeds) -> int:
        """Number of runs that vary one source of randomness and are not requested yet."""
        if needs.step.done and not self._seeds.of(needs.cell.name)[1]:
            return 0
        return self._varied(needs) - sum(bool(trial.varied) for trial in needs.outcomes)

    def _varied(self, needs: CellNeeds) -> int:
        """Number of runs that vary one source of randomness."""
        settings = self._study.settings
        return len(varied_seeds(settings, needs.cell))

    def _further_seeds(self, needs: CellNeeds) -> int:
        """Largest number of seeds that may still be added to a cell."""
        seeds, growing = self._seeds.of(needs.cell.name)
        until = self._study.settings.until
        return until.at_most - len(seeds) if until is not None and growing else 0

    def _most(self, needs: CellNeeds) -> int | None:
        """Largest number of runs that a cell may need; None if no seeds may be added."""
        further = self._further_seeds(needs)
        if not further:
            return None
        seeds = len(self._seeds.of(needs.cell.name)[0]) + further
        return seeds * most_runs(self._study.settings) + self._varied(needs)

    def _most_of_all(self) -> int | None:
        """The same of all cells; a run that several cells share counts once."""
        if not self._seeds.growing:
            return None
        if search_of(self._study.settings).one_by_one:  # its rates are known one by one
            return sum(self._most(needs) or self._runs(needs) for needs in self._cells)
        first = self._study.settings.first_seeds[0]
        further: dict[str, int] = {}
        for address, users in self._users.items():
            if any(trial.seed == first and not trial.varied for _, trial in users):
                further[address] = max(self._further_seeds(needs) for needs, _ in users)
        return len(self.known) + sum(map(self._to_come, self._cells)) + sum(further.values())

    def _update(self, changed: Sequence[CellNeeds]) -> None:
        """Update the requests of these cells, and of all that need other seeds now.

        A new seed's outcomes may be known from an earlier call or another study, and lead to further seeds.
        """
        while changed:
            for needs in changed:
                self._advance(needs)
            before, self._seeds = self._seeds, seeds_of_cells(self._facts, self._results)
            changed = [needs for needs in self._cells if self._seeds.of(needs.cell.name) != before.of(needs.cell.name)]

    def _advance(self, needs: CellNeeds) -> None:
        """Ask the search what a cell needs next, until all requested runs have a known outcome."""
        while True:
            seeds, growing = self._seeds.of(needs.cell.name)
            needs.step = next_step(self._study.settings, needs.cell, seeds, needs.outcomes, growing=growing)
            unknown = [request.trial for request in needs.step.requests if request.trial not in needs.outcomes]
            if not unknown:
                return
            for trial in dict.fromkeys(unknown):
                needs.outcomes[trial] = self._look_up(needs, trial)

    def _known_outcome(self, name: CellName, trial: Trial) -> Outcome:
        return self._by_name[name].outcomes.get(trial, Outcome(""))

    def _look_up(self, needs: CellNeeds, trial: Trial) -> Outcome:
        address = self._address(needs, trial)
        self._users.setdefault(address, []).append((needs, trial))
        if address not in self.known:
            outcome = self._ledger.outcome(address)
            if outcome.status == "failed" and self._retry_failed:
                self._ledger.try_again(address)
                outcome = replace(outcome, status="waiting", reason="")
            if outcome.status == "running":
                self.elsewhere.add(address)
            self.known[address] = outcome
        return self.known[address]

    def _address(self, needs: CellNeeds, trial: Trial) -> str:
        key = (id(needs), trial)
        if key not in self._addresses:
            loaded = recipe_for_trial(needs.cell, trial)
            address = address_of(
                loaded.recipe, self._study.code_version, registry=loaded.registry, data=self._study.data
            )
            self._addresses[key] = address
            self._recipes.setdefault(address, loaded)
        return self._addresses[key]


def _best_rate(needs: CellNeeds) -> tuple[float | None, float | None]:
    """The rate that most seeds chose and the mean validation of each seed at its own; before the first choice, the best
    on validation so far."""
    sound = {
        trial: outcome
        for trial, outcome in needs.outcomes.items()
        if outcome.validation is not None and outcome.status != "diverged"
    }
    if chosen := needs.step.chosen_rates:
        votes = Counter(chosen.values())
        values = [sound[trial].validation for seed, rate in chosen.items() if (trial := Trial(rate, seed)) in sound]
        return min(votes, key=lambda rate: (-votes[rate], rate)), _mean(values)
    by_rate: dict[float, list[float | None]] = {}
    for trial, outcome in sound.items():
        by_rate.setdefault(trial.learning_rate, []).append(outcome.validation)
    means = {rate: mean for rate in sorted(by_rate) if (mean := _mean(by_rate[rate])) is not None}
    if not means:
        return None, None
    higher = all(outcome.higher_is_better for outcome in sound.values())
    rate = (max if higher else min)(means, key=means.__getitem__)
    return rate, means[rate]


def _mean(values: Iterable[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return fmean(given) if given else None
