"""What a run leaves and reports: the resolved recipe, the environment, events for listeners, the summary."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from fptkit.engine.assessment.file import write_assessment
from fptkit.engine.assessment.records import SplitAssessed
from fptkit.engine.control import RunActions
from fptkit.engine.events import Event, Listener, Noted, RunEnded, RunStopped, Saving
from fptkit.engine.facts import environment, peak_memory_mib, versions
from fptkit.engine.folder import earlier_code, refuse_missing
from fptkit.engine.listeners import copied, recipe_listeners
from fptkit.engine.loop import Trainer
from fptkit.engine.preparation import write_preparation
from fptkit.engine.progress import ended_by
from fptkit.engine.records import MetricsFile
from fptkit.engine.request import RunRequest
from fptkit.engine.setup import Prepared
from fptkit.errors import DivergedError, Interrupted, visible
from fptkit.files import ENVIRONMENT, METRICS, RECIPE, SUMMARY, write_json, write_sealed, write_text
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.models import Recipe


class RunOutput:
    """The files and events of one run. Of several processes, rank 0 alone writes and reports.

    Args:
        request: names the folder and the listeners.
        recipe: the recipe, with the choices of an earlier part of the run.
        prepared: the parts of the run.
        times_tested: how often the test splits were evaluated before.
    """

    def __init__(self, request: RunRequest, recipe: Recipe, prepared: Prepared, *, times_tested: int) -> None:
        self._request, self._recipe, self._prepared = request, recipe, prepared
        self._processes = prepared.team.processes
        self._listeners: list[Listener] = list(request.listeners)
        self._times_tested = times_tested
        self._working_folder = os.getcwd()
        self._metrics_file: MetricsFile | None = None
        self._actions = RunActions()

    def records(self) -> dict[str, Any]:
        """Length and digest of the metrics file; empty in all processes but rank 0.

        Raises:
            TrainingError: files of the run were removed.
        """
        if self._metrics_file is None:
            return {}
        refuse_missing(self._request.folder)
        return self._metrics_file.facts()

    @contextlib.contextmanager
    def opened(self, trainer: Trainer) -> Iterator[None]:
        """The run folder with recipe, environment and metrics file, and the recipe's listeners."""
        folder = self._request.folder
        digest = str(trainer.restored_records.get("digest", ""))
        lines = int(trainer.restored_records.get("lines", trainer.progress.events))
        metrics_file = MetricsFile(folder / METRICS, keep_lines=lines, digest=digest)
        self._metrics_file = metrics_file
        self._actions.restore(metrics_file.kept)
        with contextlib.closing(metrics_file):
            self._write_recipe()
            self.summarise("running", trainer)
            registry = self._request.loaded.registry
            self._listeners += [metrics_file, *recipe_listeners(self._recipe, registry, folder, self._actions)]
            yield

    @contextlib.contextmanager
    def ending(self, trainer: Trainer) -> Iterator[None]:
        """Record in the summary why the run ended early, if it did."""
        try:
            yield
        except Interrupted:
            self.emit(RunStopped(self.summarise("interrupted", trainer)))
            raise
        except Exception as err:
            status = "diverged" if isinstance(err, DivergedError) else "failed"
            with contextlib.suppress(OSError):  # a full disk or a folder that is gone: that is the error already
                self.emit(RunStopped(self.summarise(status, trainer, reason=visible(f"{type(err).__name__}: {err}"))))
            raise

    def emit(self, event: Event) -> None:
        """Pass an event to all listeners, and then what they asked for: metrics to write, notes for the user."""
        if not self._processes.main:
            return
        self._actions.at(event)
        for listener in self._listeners:
            os.chdir(self._working_folder)  # a plugin may have left it, and paths of the run are relative
            listener.handle(copied(event))
        self._write_added(event)
        notes, self._actions.notes = self._actions.notes, []
        for text in notes:
            self.emit(Noted(self._actions.step, text))

    def stop_reason(self) -> str:
        """Which listener asked to end training, and why; empty if none did, and in all processes but rank 0."""
        return self._actions.stop

    def _write_added(self, event: Event) -> None:
        """Write the metrics that listeners added at an event."""
        lines, self._actions.lines = self._actions.lines, []
        if self._metrics_file is not None and lines:
            for name, step, values in lines:
                self._metrics_file.add(name, step, values)
            if isinstance(event, Saving):
                self._metrics_file.handle(event)  # the checkpoint counts these lines, too

    def open_test(self, trainer: Trainer) -> None:
        """Count an evaluation of the test splits. Recorded before it starts, since a run killed during it counts
        too."""
        self._times_tested += 1
        self._processes.from_main(lambda: self.summarise("running", trainer))

    def write_assessment(self, step: int, splits: Mapping[str, SplitAssessed | None]) -> None:
        """Write how good the answers to the test splits were; each is None except in rank 0."""
        found = {name: one for name, one in splits.items() if one is not None}
        self._processes.from_main(lambda: write_assessment(self._request.folder, step, found))

    def end(self, status: str, trainer: Trainer, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write and report the summary of a run that got as far as requested."""
        self._processes.from_main(lambda: refuse_missing(self._request.folder))
        summary = self._processes.from_main(lambda: self.summarise(status, trainer, metrics))
        known = self._actions.facts()
        self.emit(RunEnded(summary))
        if self._actions.facts() != known:  # a listener added metrics at the end, or failed there
            summary = self.summarise(status, trainer, metrics)
        return summary

    def summarise(
        self, status: str, trainer: Trainer, metrics: Mapping[str, Any] | None = None, *, reason: str = ""
    ) -> dict[str, Any]:
        """The present summary, with metrics in addition to those of validation. Rank 0 writes it to
        ``summary.json``."""
        progress = trainer.progress
        ended = {"ended_by": ended_by(self._prepared.options, progress)} if status in ("validated", "finished") else {}
        summary = {
            "status": status,
            **({"reason": reason} if reason else {}),
            "recipe": self._request.loaded.name,
            **self._prepared.facts,
            "metrics": {"validation": progress.best_metrics or {}, "test": {}, **(metrics or {})},
            "steps": progress.step,
            "validated_step": max(progress.validated_step, 0),
            "best_step": progress.best_step,
            "parts": progress.parts,
            "evaluation_parts": progress.evaluation_parts,
            "compiled": trainer.compiled,
            "recorded_shapes": trainer.training_step.graphs.count,
            **ended,
            **({"stopped_by": progress.stopped} if progress.stopped else {}),
            **({"listeners": listeners} if (listeners := self._actions.facts()) else {}),
            "times_tested": self._times_tested,
            "seconds": round(progress.seconds, 3),
            "examples_per_second": round(progress.examples_per_second, 3),
            "peak_memory_mib": peak_memory_mib(),
            "versions": versions(),
        }
        if self._processes.main:
            os.chdir(self._working_folder)
            write_sealed(self._request.folder / SUMMARY, summary)
        return summary

    def _write_recipe(self) -> None:
        """Save the recipe with the sources and precision used, so that running it repeats the run; and how inputs were
        prepared, so that the folder alone can predict."""
        built, loaded, pinned = self._prepared.built, self._request.loaded, self._recipe.pinned
        pinned = pinned.model_copy(
            update={
                "recipe": loaded.name,
                "profile": loaded.profile or pinned.profile,
                "weights": built.model.backbone.weights,
                "source": built.task.source,
                "precision": built.precision,
            }
        )
        header = [
            f"Resolved recipe of {loaded.name}: every default written out, and the sources used.",
            f"Repeat the run with: fptkit run {RECIPE}",
            *(f"{name} {version}" for name, version in versions().items()),
        ]
        resolved = self._recipe.model_copy(update={"pinned": pinned})
        write_text(self._request.folder / RECIPE, dump_recipe(resolved, header))
        write_preparation(self._request.folder, self._recipe.task.name, built)
        found = environment(loaded.registry, earlier_code=earlier_code(self._request.folder))
        write_json(self._request.folder / ENVIRONMENT, found)
