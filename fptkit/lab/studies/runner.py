"""Carries a study out: asks the search what is missing, has it run, and goes on with what came of it.

Several processes may carry out the same study, or studies that share runs, in one ledger folder: each takes the runs
nobody has, and waits for those that others have.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fptkit.engine.signals import stop_on_signals
from fptkit.errors import FptkitError
from fptkit.files import read_summary
from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.cells import recipe_for_trial
from fptkit.lab.studies.job import LOG, Job, carried_environment
from fptkit.lab.studies.launchers.base import Ended, Launcher
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.outcome import Outcome, Status
from fptkit.lab.studies.plan import Cell, CellName, Request, Study, Trial
from fptkit.lab.studies.progress import CellProgress, CellState, ProgressView, StudyProgress, first_line
from fptkit.lab.studies.results import run_folder
from fptkit.lab.studies.search import Step, next_step
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe
from fptkit.registry import Registry

POLL_S = 0.5
"""How long to wait for a worker before looking at signals again."""

LEDGER_POLL_S = 3.0
"""How often to look what other processes did; every row is read."""

MAX_TRIES = 2
"""Times the same part of a run is started in one study before it counts as failed."""

MakeLauncher = Callable[[Sequence[str]], Launcher]
"""Makes the launcher, when the first run needs it, from the modules runs will load."""


@dataclass
class _CellState:
    """A cell as far as it is known."""

    cell: Cell
    outcomes: dict[Trial, Outcome] = field(default_factory=dict)
    step: Step = field(init=False)


@dataclass(frozen=True)
class Missing:
    """A run that failed.

    Args:
        cell: where it belongs; one that several cells share is told for each.
        trial: which.
        outcome: how it stands, with the reason.
        folder: of the run, where its log is.
    """

    cell: CellName
    trial: Trial
    outcome: Outcome
    folder: Path

    @property
    def text(self) -> str:
        """In one line."""
        return f"{_name(self.cell, self.trial)}: {first_line(self.outcome.reason)} (log: {self.folder / LOG})"


@dataclass(frozen=True)
class StudyEnd:
    """How carrying out a study ended.

    Args:
        outcomes: of every run it knows, by address.
        started: runs this process started or went on with; the later opening of a test is not counted again.
        failed: runs that are missing for good.
        signal_number: the signal that stopped it, 0 for none.
    """

    outcomes: Mapping[str, Outcome]
    started: int
    failed: Sequence[Missing]
    signal_number: int = 0


class StudyRunner:
    """Carries out one study.

    Args:
        study: the study.
        ledger: of its folder, open.
        make_launcher: called once, when the first run is to be started: a study without anything to do starts nothing.
        view: shows how it goes.
        retry_failed: whether runs that failed in an earlier call are tried again.
    """

    def __init__(
        self,
        study: Study,
        ledger: Ledger,
        make_launcher: MakeLauncher,
        view: ProgressView,
        *,
        retry_failed: bool = False,
    ) -> None:
        self._study = study
        self._ledger = ledger
        self._make_launcher = make_launcher
        self._view = view
        self._retry_failed = retry_failed
        self._launcher: Launcher | None = None
        self._states = [_CellState(cell) for cell in study.cells]
        self._users: dict[str, list[tuple[_CellState, Trial]]] = {}
        self._addresses: dict[tuple[int, Trial], str] = {}
        self._recipes: dict[str, LoadedRecipe] = {}
        self._known: dict[str, Outcome] = {}
        self._under_way: dict[str, Request] = {}
        self._elsewhere: set[str] = set()
        self._tries: Counter[tuple[str, Request]] = Counter()
        self._started: set[str] = set()
        self._seconds: list[float] = []
        self._looked = 0.0

    def carry_out(self) -> StudyEnd:
        """Run what is missing, until nothing is or a signal comes.

        A second SIGINT ends all workers at once.
        """
        with stop_on_signals() as stop:
            try:
                for state in self._states:
                    self._advance(state)
                self._view.update(self.progress())
                while not stop.requested() and self._go_on():
                    self._view.update(self.progress())
                if stop.requested():
                    self._wait_for_saving()
            except KeyboardInterrupt:
                self._view.say("stopped at once; what was saved before is kept")
            finally:
                if self._launcher is not None:
                    self._launcher.close()
        return StudyEnd(dict(self._known), len(self._started), self._failures(), stop.signal_number)

    def plan(self) -> StudyProgress:
        """What there is to do, without doing it."""
        for state in self._states:
            self._advance(state)
        return self.progress()

    def _go_on(self) -> bool:
        """Start what can be started, take in what ended; false when there is nothing to wait for."""
        self._start_jobs()
        if not self._under_way and not self._elsewhere:
            return False
        if self._launcher is not None and self._under_way:
            for ended in self._launcher.wait(POLL_S):
                self._take_in(ended)
        else:
            time.sleep(POLL_S)
        if time.monotonic() - self._looked > LEDGER_POLL_S:
            self._look_elsewhere()
        return True

    def _start_jobs(self) -> None:
        """Start runs while there are free slots, those that open a test first: they are short and complete a cell."""
        while self._launcher is None or len(self._under_way) < self._launcher.slots:
            found = next(self._startable(), None)
            if found is None:
                return
            state, request = found
            address = self._address(state, request.trial)
            loaded, known = self._recipes[address], self._known[address]
            recipe = _recipe_text(loaded)
            name = _name(state.cell.name, request.trial)
            if not self._ledger.claim(known, name=name, recipe=recipe):
                self._refresh(address)
                continue
            self._under_way[address] = request
            self._tries[address, request] += 1
            self._started.add(address)
            if self._launcher is None:
                self._launcher = self._make_launcher(_modules(self._study))
                self._view.say(self._launcher.description)
            self._launcher.start(
                Job(
                    address=address,
                    name=name,
                    recipe=recipe,
                    folder=run_folder(self._ledger.folder, address).resolve(),
                    working_folder=Path.cwd(),
                    threads=loaded.recipe.threads or self._launcher.threads,
                    until_step=request.until_step,
                    open_test=request.open_test,
                    environment=carried_environment(),
                )
            )

    def _startable(self) -> Iterator[tuple[_CellState, Request]]:
        """Requests nobody is at work on, in the order they are best started.

        Cell by cell, so that first results come early; in a cell seed by seed, so that its curve over rates does, too.
        """
        everything = [
            (not request.open_test, place, request.trial.seed, number, state, request)
            for place, state in enumerate(self._states)
            for number, request in enumerate(state.step.requests)
        ]
        for *_, state, request in sorted(everything, key=lambda entry: entry[:4]):
            address = self._address(state, request.trial)
            if address not in self._under_way and address not in self._elsewhere:
                yield state, request

    def _take_in(self, ended: Ended) -> None:
        """Write down how a job ended, and let its cells go on."""
        address = ended.job.address
        request = self._under_way.pop(address)
        before = self._known[address]
        status, reason = self._verdict(ended, before)
        outcome = self._ledger.settle(address, status, reason)
        self._know(outcome)
        if not outcome.over and self._still_asked(address, request) and self._tries[address, request] >= MAX_TRIES:
            # The search would ask for it for ever.
            why = reason or f"it is {status} at step {outcome.step}, short of what was asked for"
            self._know(self._ledger.settle(address, "failed", f"{why}; tried {MAX_TRIES} times"))
        seconds = ended.result.seconds if ended.result else None
        if seconds is not None and not before.over:
            self._seconds.append(seconds)
        self._view.run_ended(ended.job.name, self._known[address], seconds, self.progress())

    def _verdict(self, ended: Ended, before: Outcome) -> tuple[Status, str]:
        """Status and reason of a run whose worker has ended."""
        if ended.result is not None:
            return ended.result.status, ended.result.reason
        # It ended without a word, but may have written its summary before.
        summary = read_summary(run_folder(self._ledger.folder, ended.job.address))
        for told in ("validated", "finished", "diverged", "paused", "interrupted"):
            if summary.get("status") == told and summary != before.summary:
                return told, str(summary.get("reason", ""))
        return "lost", ended.death

    def _wait_for_saving(self) -> None:
        """Have the workers save and end. What they did not come to is lost to nobody: it is made when called again."""
        if self._launcher is None or not self._under_way:
            return
        number = len(self._under_way)
        self._view.say(f"stopping: {number} under way, saving; Ctrl-C again ends them at once")
        self._launcher.stop()
        while self._under_way:
            for ended in self._launcher.wait(POLL_S):
                address = ended.job.address
                self._under_way.pop(address)
                self._know(self._ledger.settle(address, *self._verdict(ended, self._known[address])))
            self._view.update(self.progress())

    def _look_elsewhere(self) -> None:
        """Take in what other processes did with the runs this study waits for."""
        self._looked = time.monotonic()
        wanted = {self._address(state, request.trial) for state in self._states for request in state.step.requests}
        # Those under way elsewhere, too, of which the search has all it wanted: the study ends with the word of all.
        for address in sorted((wanted | self._elsewhere) - self._under_way.keys()):
            self._refresh(address)

    def _refresh(self, address: str) -> None:
        before = self._known[address]
        outcome = self._ledger.outcome(address)
        was_elsewhere = address in self._elsewhere
        if outcome.status == "running":
            self._elsewhere.add(address)
        else:
            self._elsewhere.discard(address)
        if outcome != before:
            self._know(outcome)
            if was_elsewhere and outcome.status != "running":
                state, trial = self._users[address][0]
                what = f"{_name(state.cell.name, trial)}, in another study"
                self._view.run_ended(what, outcome, None, self.progress())

    def _know(self, outcome: Outcome) -> None:
        """Remember how a run stands, and let the cells it belongs to go on."""
        self._known[outcome.address] = outcome
        for state, trial in self._users.get(outcome.address, ()):
            state.outcomes[trial] = outcome
            self._advance(state)

    def _advance(self, state: _CellState) -> None:
        """Ask the search what a cell needs next, until everything it names is known."""
        while True:
            state.step = next_step(self._study.settings, state.cell, state.outcomes)
            unknown = [request.trial for request in state.step.requests if request.trial not in state.outcomes]
            if not unknown:
                return
            for trial in dict.fromkeys(unknown):
                state.outcomes[trial] = self._look_up(state, trial)

    def _look_up(self, state: _CellState, trial: Trial) -> Outcome:
        address = self._address(state, trial)
        self._users.setdefault(address, []).append((state, trial))
        if address not in self._known:
            outcome = self._ledger.outcome(address)
            if outcome.status == "failed" and self._retry_failed:
                self._ledger.try_again(address)
                outcome = replace(outcome, status="waiting", reason="")
            if outcome.status == "running":
                self._elsewhere.add(address)
            self._known[address] = outcome
        return self._known[address]

    def _address(self, state: _CellState, trial: Trial) -> str:
        key = (id(state), trial)
        if key not in self._addresses:
            loaded = recipe_for_trial(state.cell, trial)
            address = address_of(loaded.recipe, self._study.code_version, registry=loaded.registry)
            self._addresses[key] = address
            self._recipes.setdefault(address, loaded)
        return self._addresses[key]

    def _still_asked(self, address: str, request: Request) -> bool:
        return any(request in state.step.requests for state, trial in self._users[address] if trial == request.trial)

    def _failures(self) -> list[Missing]:
        return [
            Missing(state.cell.name, trial, outcome, run_folder(self._ledger.folder, outcome.address))
            for state in self._states
            for trial, outcome in state.outcomes.items()
            if outcome.status == "failed"
        ]

    def progress(self) -> StudyProgress:
        """How far the study is."""
        cells = [self._cell_progress(state) for state in self._states]
        missing = {
            self._address(state, request.trial)
            for state in self._states
            for request in state.step.requests
            if not request.open_test  # it is trained, and opening its test takes no time to speak of
        }
        failed = sum(outcome.status == "failed" for outcome in self._known.values())
        left = None
        if self._seconds and self._launcher is not None:
            left = sum(self._seconds) / len(self._seconds) * len(missing) / min(self._launcher.slots, len(missing) or 1)
        return StudyProgress(
            title=self._study.name + (f" ({self._study.profile})" if self._study.profile else ""),
            cells=cells,
            done=len(self._known) - len(missing) - failed,
            runs=len(self._known),
            running=len(self._under_way),
            elsewhere=len(self._elsewhere),
            failed=failed,
            seconds_left=left,
        )

    def _cell_progress(self, state: _CellState) -> CellProgress:
        wanted = {request.trial for request in state.step.requests}
        at_work = self._under_way.keys() | self._elsewhere
        running = sum(self._address(state, trial) in at_work for trial in wanted)
        failed = sum(outcome.status == "failed" for outcome in state.outcomes.values())
        status: CellState = "waiting"
        if not wanted:
            status = "failed" if failed else "done"
        elif running:
            status = "running"
        rate, validation = _best_rate(state)
        return CellProgress(
            name=state.cell.name,
            state=status,
            done=len(state.outcomes) - len(wanted) - failed,
            runs=len(state.outcomes),
            running=running,
            rate=rate,
            validation=validation,
            chosen=state.step.chosen_rate is not None,
        )


def _name(cell: CellName, trial: Trial) -> str:
    return f"{cell}, rate {trial.learning_rate:g}, seed {trial.seed}"


def _best_rate(state: _CellState) -> tuple[float | None, float | None]:
    """The rate chosen, or the one that validates best so far, with its mean over seeds."""
    by_rate: dict[float, list[float]] = {}
    higher = True
    for trial, outcome in state.outcomes.items():
        if outcome.validation is not None and outcome.status != "diverged":
            by_rate.setdefault(trial.learning_rate, []).append(outcome.validation)
            higher = outcome.higher_is_better
    means = {rate: sum(values) / len(values) for rate, values in by_rate.items()}
    if state.step.chosen_rate is not None:
        return state.step.chosen_rate, means.get(state.step.chosen_rate)
    if not means:
        return None, None
    rate = (max if higher else min)(sorted(means), key=means.__getitem__)
    return rate, means[rate]


def _recipe_text(loaded: LoadedRecipe) -> str:
    """The recipe as a worker gets it, with the name its run goes by."""
    pinned = loaded.recipe.pinned.model_copy(update={"recipe": loaded.name})
    return dump_recipe(loaded.recipe.model_copy(update={"pinned": pinned}), ["The recipe a study asked for."])


def _modules(study: Study) -> list[str]:
    """Modules of fptkit that the components of a study's recipes come from; the workers' server loads them once."""
    found: dict[str, None] = {}
    for cell in study.cells:
        for target in _targets(cell.loaded):
            module = target.partition(":")[0]
            if module.startswith("fptkit."):  # a plugin's module may do anything when it is imported: not in advance
                found.setdefault(module)
    return list(found)


def _targets(loaded: LoadedRecipe) -> Iterator[str]:
    from fptkit.specs import BackboneSpec, EncoderSpec, TaskSpec

    registry: Registry = loaded.registry
    recipe = loaded.recipe
    sections = ((TaskSpec, recipe.task), (BackboneSpec, recipe.backbone), (EncoderSpec, recipe.encoder))
    for kind, component in sections:
        if component is None:
            continue
        try:
            target = registry.get(kind, component.name).target
        except FptkitError:
            continue
        if isinstance(target, str):
            yield target
