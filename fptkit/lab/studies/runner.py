"""Runs a study: starts the runs its cells need and records their results.

Several processes may run the same study, or studies that share runs, in one ledger folder: each claims free runs and
waits for those of the others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.engine.signals import stop_on_signals
from fptkit.errors import FptkitError
from fptkit.files import read_summary
from fptkit.lab.studies.job import Job, carried_environment
from fptkit.lab.studies.launchers.base import Ended, Launcher
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.needs import Missing, Needs
from fptkit.lab.studies.outcome import Outcome, Status
from fptkit.lab.studies.plan import Request, Study
from fptkit.lab.studies.progress import ProgressView, StudyProgress
from fptkit.lab.studies.results import run_folder
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Recipe
from fptkit.registry import Registry

POLL_S = 0.5
"""How long to wait for a worker before checking for signals again."""

LEDGER_POLL_S = 3.0
"""How often to check what other processes did; this reads every row."""

MAX_TRIES = 2
"""How often one call starts the same part of a run before the run counts as failed."""

MakeLauncher = Callable[[Sequence[str]], Launcher]
"""Creates the launcher when the first run needs it; takes the modules that runs will load."""


@dataclass(frozen=True)
class StudyEnd:
    """The result of running a study.

    Args:
        outcomes: outcomes of all known runs, by address.
        started: number of runs this process started or resumed; a later test of the same run is not counted again.
        failed: runs that failed for good.
        signal_number: the signal that stopped the study, 0 for none.
    """

    outcomes: Mapping[str, Outcome]
    started: int
    failed: Sequence[Missing]
    signal_number: int = 0


class StudyRunner:
    """Runs one study.

    Args:
        study: the study.
        ledger: the open ledger of its folder.
        make_launcher: called once, before the first run is started; not called if there is nothing to run.
        view: shows the progress.
        retry_failed: whether to retry runs that failed in an earlier call.
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
        self._needs = Needs(study, ledger, retry_failed=retry_failed)
        self._launcher: Launcher | None = None
        self._under_way: dict[str, Request] = {}
        self._tries: Counter[tuple[str, Request]] = Counter()
        self._started: set[str] = set()
        self._seconds: list[float] = []
        self._looked = 0.0

    def carry_out(self) -> StudyEnd:
        """Start the missing runs until all have ended or a signal arrives.

        A second SIGINT kills all workers at once.
        """
        with stop_on_signals() as stop:
            try:
                self._needs.look()
                self._view.update(self.progress())
                while not stop.requested() and self._go_on():
                    self._view.update(self.progress())
                if stop.requested():
                    self._wait_for_saving()
            except KeyboardInterrupt:
                self._view.say("stopped at once; saved state is kept")
            finally:
                if self._launcher is not None:
                    self._launcher.close()
        return StudyEnd(dict(self._needs.known), len(self._started), self._needs.failures(), stop.signal_number)

    def plan(self) -> StudyProgress:
        """The progress of the study, without starting anything."""
        self._needs.look()
        return self.progress()

    def unmade(self) -> dict[str, Recipe]:
        """Recipes of the needed runs that this version of the code has not started yet, by address."""
        self._needs.look()
        return {
            address: self._needs.recipe(address).recipe
            for address, _, _ in self._needs.requests()
            if self._needs.known[address].status == "waiting"
        }

    def known(self) -> dict[str, Outcome]:
        """Outcomes of the runs that the study needs, as far as its search is known, by address."""
        self._needs.look()
        return dict(self._needs.known)

    def progress(self) -> StudyProgress:
        """The current progress of the study."""
        slots = 1 if self._launcher is None else self._launcher.slots
        each = sum(self._seconds) / len(self._seconds) if self._seconds and self._launcher is not None else None
        return self._needs.progress(self._under_way.keys(), seconds_each=each, slots=slots)

    def _go_on(self) -> bool:
        """Start free runs and record ended ones; false if there is nothing left to wait for."""
        self._start_jobs()
        if not self._under_way and not self._needs.elsewhere:
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
        """Start runs while there are free slots."""
        while self._launcher is None or len(self._under_way) < self._launcher.slots:
            found = next(self._startable(), None)
            if found is None:
                return
            address, name, request = found
            recipe = _recipe_text(self._needs.recipe(address))
            if not self._ledger.claim(self._needs.known[address], name=name, recipe=recipe):
                self._refresh(address)
                continue
            self._start(address, name, request, recipe)

    def _start(self, address: str, name: str, request: Request, recipe: str) -> None:
        """Start a run that this process has claimed; ``recipe`` is its YAML."""
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
                threads=self._needs.recipe(address).recipe.threads or self._launcher.threads,
                until_step=request.until_step,
                open_test=request.open_test,
                environment=carried_environment(),
                data=self._needs.data(address),
                study=self._study.name,
            )
        )

    def _startable(self) -> Iterator[tuple[str, str, Request]]:
        """Requests for runs that are not in progress anywhere."""
        for address, name, request in self._needs.requests():
            if address not in self._under_way and address not in self._needs.elsewhere:
                yield address, name, request

    def _take_in(self, ended: Ended) -> None:
        """Record how a job ended, and update its cells."""
        address = ended.job.address
        request = self._under_way.pop(address)
        before = self._needs.known[address]
        status, reason = self._verdict(ended, before)
        outcome = self._ledger.settle(address, status, reason)
        self._needs.learn(outcome)
        asked = not outcome.over and self._needs.still_asks(address, request)
        if asked and self._tries[address, request] >= MAX_TRIES:
            # Otherwise the search would request it forever.
            why = reason or f"it is {status} at step {outcome.step}, before the requested step"
            self._needs.learn(self._ledger.settle(address, "failed", f"{why}; tried {MAX_TRIES} times"))
        seconds = ended.result.seconds if ended.result else None
        if seconds is not None and not before.over:
            self._seconds.append(seconds)
        self._view.run_ended(ended.job.name, self._needs.known[address], seconds, self.progress())

    def _verdict(self, ended: Ended, before: Outcome) -> tuple[Status, str]:
        """Status and reason of a run whose worker has ended."""
        if ended.result is not None:
            return ended.result.status, ended.result.reason
        # It ended without sending a result, but may have written its summary before.
        summary = read_summary(run_folder(self._ledger.folder, ended.job.address))
        for told in ("validated", "finished", "diverged", "paused", "interrupted"):
            if summary.get("status") == told and summary != before.summary:
                return told, str(summary.get("reason", ""))
        return "lost", ended.death

    def _wait_for_saving(self) -> None:
        """Make the workers save and end. The next call makes the remaining runs."""
        if self._launcher is None or not self._under_way:
            return
        number = len(self._under_way)
        self._view.say(f"stopping: {number} running, saving; press Ctrl-C again to end them at once")
        self._launcher.stop()
        while self._under_way:
            for ended in self._launcher.wait(POLL_S):
                address = ended.job.address
                self._under_way.pop(address)
                self._needs.learn(self._ledger.settle(address, *self._verdict(ended, self._needs.known[address])))
            self._view.update(self.progress())

    def _look_elsewhere(self) -> None:
        """Update the outcomes of runs that this study needs and other processes may have changed."""
        self._looked = time.monotonic()
        wanted = {address for address, _, _ in self._needs.requests()}
        # Include runs elsewhere that the search no longer needs, so that the study reports every run.
        for address in sorted((wanted | self._needs.elsewhere) - self._under_way.keys()):
            self._refresh(address)

    def _refresh(self, address: str) -> None:
        ended = self._needs.refresh(address)
        if ended is not None:
            self._view.run_ended(f"{ended}, in another study", self._needs.known[address], None, self.progress())


def _recipe_text(loaded: LoadedRecipe) -> str:
    """The recipe for a worker, with the name of its run."""
    pinned = loaded.recipe.pinned.model_copy(update={"recipe": loaded.name})
    return dump_recipe(loaded.recipe.model_copy(update={"pinned": pinned}), ["The recipe a study asked for."])


def _modules(study: Study) -> list[str]:
    """Modules of fptkit with the components of the study's recipes; the workers' server loads them once."""
    found: dict[str, None] = {}
    for cell in study.cells:
        for target in _targets(cell.loaded):
            module = target.partition(":")[0]
            if module.startswith("fptkit."):  # importing a plugin's module may have side effects: not in advance
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
