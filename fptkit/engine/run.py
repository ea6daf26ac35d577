"""One run from recipe to summary: build, prove what is frozen, train, restore the best step, open the test once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fptkit import __version__
from fptkit.build import Built, build, build_component, check_encoder_width
from fptkit.engine.batches import TrainingBatches, evaluation_batches, parts_of
from fptkit.engine.checkpoint import trained_tensors, write_model_files
from fptkit.engine.evaluate import EvaluationStopped, evaluate
from fptkit.engine.events import Event, Listener, RunEnded, RunStarted, SplitTested
from fptkit.engine.facts import environment, peak_memory_mib, run_facts, versions
from fptkit.engine.folder import (
    CHECKPOINTS,
    METRICS,
    RECIPE,
    SUMMARY,
    is_finished,
    only_us,
    read_summary,
    recipe_for,
    resume_command,
)
from fptkit.engine.loop import Trainer
from fptkit.engine.records import MetricsFile, write_json, write_text
from fptkit.errors import Interrupted, TrainingError, UsageError
from fptkit.freezing import FreezeProof, count_parameters
from fptkit.interfaces import check_best_metric
from fptkit.precision import choose_device
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Recipe
from fptkit.signals import StopRequest, stop_on_signals
from fptkit.specs import ListenerSpec


@dataclass(frozen=True)
class RunRequest:
    """What is to be run, and where.

    Args:
        loaded: the checked recipe with its registry.
        folder: run folder.
        resume: go on where the folder stopped; without it the folder must not hold a run.
        listeners: followers besides those of the recipe and ``metrics.jsonl``.
    """

    loaded: LoadedRecipe
    folder: Path
    resume: bool = False
    listeners: Sequence[Listener] = ()


def run(request: RunRequest) -> dict[str, Any]:
    """Carry out a run.

    Returns:
        The summary, as ``summary.json`` holds it. Resuming a finished run trains nothing and returns the one there is.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        UsageError: the folder holds a run already, another process works in it, or another recipe made it.
        FptkitError: building or training failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("this version trains in one process; start it without torchrun or accelerate launch")
    device = choose_device(request.loaded.recipe.device)
    with only_us(request.folder), stop_on_signals() as stop:
        recipe = recipe_for(request.folder, request.loaded, resume=request.resume)
        before = read_summary(request.folder)
        if is_finished(before, recipe):
            return before
        try:
            return _Run(request, recipe, stop, times_tested=before.get("times_tested", 0)).carry_out(device)
        except OSError as err:
            raise TrainingError(
                f"{request.folder}: {err}. The last whole checkpoint is kept; --resume goes on"
            ) from err


class _Run:
    """The state that the stages of one run share."""

    def __init__(self, request: RunRequest, recipe: Recipe, stop: StopRequest, *, times_tested: int) -> None:
        self._request = request
        self._recipe = recipe
        self._folder = request.folder
        self._stop = stop
        self._times_tested = times_tested
        self._listeners: list[Listener] = list(request.listeners)

    def carry_out(self, device: torch.device) -> dict[str, Any]:
        """All stages, in order."""
        from accelerate import Accelerator
        from accelerate.utils import GradientAccumulationPlugin

        train = self._recipe.train
        if self._recipe.threads is not None:
            torch.set_num_threads(self._recipe.threads)
        # What the user's shell says to other programs must not change this run's arithmetic.
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )
        built = build(self._recipe, self._request.loaded.registry, accelerator.device)
        splits = {name: built.task.split(name) for name in ("train", "validation")}
        # A task or encoder that breaks its promises is told now, not after the first validation.
        batches = TrainingBatches(
            built.task, splits["train"], train.batch_size, train.seed, batch_tokens=train.batch_tokens
        )
        first = parts_of(batches.batch(0), train.accumulate)[0].to(device)  # no larger than what training holds
        next(evaluation_batches(built.task, "validation", splits["validation"], train, 0))
        check_encoder_width(built, first)
        check_best_metric(built.task)
        proof = FreezeProof(built.model)
        self._facts = run_facts(self._recipe, built, count_parameters(built.model, built.task, first), device)
        self._frozen = {
            "backbone": self._recipe.backbone.name,
            "weights": built.model.backbone.weights,
            "seed": train.seed,
            "digest": proof.digest,
        }
        self._trainer = Trainer(
            built,
            train,
            train=splits["train"],
            validation=splits["validation"],
            accelerator=accelerator,
            checkpoints=self._folder / CHECKPOINTS,
            proof=proof,
            frozen=self._frozen,
            emit=self._emit,
            stop=self._stop,
        )
        if self._request.resume:
            self._trainer.restore()
        metrics_file = MetricsFile(self._folder / METRICS, keep_lines=self._trainer.progress.events)
        self._pin(built)
        self._write_summary("running")
        self._listeners += [metrics_file, *self._recipe_listeners()]
        try:
            return self._train_and_test(built, proof)
        except Interrupted:
            self._write_summary("interrupted")
            raise
        except Exception as err:
            self._write_summary("failed", reason=f"{type(err).__name__}: {err}")
            raise
        finally:
            metrics_file.close()

    def _train_and_test(self, built: Built, proof: FreezeProof) -> dict[str, Any]:
        train, progress = self._recipe.train, self._trainer.progress
        self._emit(
            RunStarted(
                self._request.loaded.name,
                self._folder,
                self._facts,
                tuple(self._facts["notes"]),
                progress.step,
                train.max_steps,
                train.batch_size,
            )
        )
        if not self._trainer.fit():
            raise self._interrupted()
        self._trainer.restore_best()
        proof.check_unchanged()
        self._times_tested += 1
        test: dict[str, dict[str, float]] = {}
        for name in built.task.test_splits:
            try:
                test[name] = evaluate(
                    built.model,
                    built.task,
                    name,
                    built.task.split(name),
                    options=train,
                    step=progress.best_step,
                    device=next(built.model.parameters()).device,
                    stop_requested=self._stop.requested,
                )
            except EvaluationStopped:
                raise self._interrupted() from None
            self._emit(SplitTested(name, progress.best_step, test[name]))
        write_model_files(
            self._folder,
            {"model": trained_tensors(built.model)},
            "model.json",
            {"step": progress.best_step, "frozen": self._frozen, "fptkit": __version__},
        )
        summary = self._write_summary("finished", test)
        self._emit(RunEnded(summary))
        return summary

    def _emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener.handle(event)

    def _recipe_listeners(self) -> list[Listener]:
        registry = self._request.loaded.registry
        return [
            _Guarded(
                section.name,
                build_component(registry.get(ListenerSpec, section.name), section.options, folder=self._folder),
            )
            for section in self._recipe.listeners
        ]

    def _pin(self, built: Built) -> None:
        """Save the recipe with what was taken, so that running it again repeats the run."""
        pinned = self._recipe.pinned.model_copy(
            update={
                "recipe": self._request.loaded.name,
                "profile": self._request.loaded.profile or self._recipe.pinned.profile,
                "weights": built.model.backbone.weights,
                "source": built.task.source,
                "precision": built.precision,
            }
        )
        resolved = self._recipe.model_copy(update={"pinned": pinned})
        header = [
            f"Resolved recipe of {self._request.loaded.name}: every default written out, and the sources taken.",
            f"Repeat the run with: fptkit run {RECIPE}",
            *(f"{name} {version}" for name, version in versions().items()),
        ]
        write_text(self._folder / RECIPE, dump_recipe(resolved, header))
        write_json(self._folder / "environment.json", environment(self._request.loaded.registry))

    def _interrupted(self) -> Interrupted:
        return Interrupted(self._stop.signal_number, self._trainer.progress.step, resume_command(self._folder))

    def _write_summary(
        self, status: str, test: dict[str, dict[str, float]] | None = None, *, reason: str = ""
    ) -> dict[str, Any]:
        """Write ``summary.json`` as things stand; returns what it holds."""
        progress = self._trainer.progress
        summary = {
            "status": status,
            **({"reason": reason} if reason else {}),
            "recipe": self._request.loaded.name,
            **self._facts,
            "metrics": {"validation": progress.best_metrics or {}, "test": test or {}},
            "steps": progress.step,
            "best_step": progress.best_step,
            "ended_by": "steps" if progress.step >= self._recipe.train.max_steps else "patience",
            "times_tested": self._times_tested,
            "seconds": round(progress.seconds, 3),
            "examples_per_second": round(progress.examples_per_second, 3),
            "peak_memory_mib": peak_memory_mib(),
            "versions": versions(),
        }
        if status != "finished":
            del summary["ended_by"]
        write_json(self._folder / SUMMARY, summary)
        return summary


class _Guarded:
    """A plugin's listener: one that fails is dropped with a warning, the run goes on."""

    def __init__(self, name: str, listener: Listener) -> None:
        self._name = name
        self._listener: Listener | None = listener

    def handle(self, event: Event) -> None:
        """See `Listener`."""
        if self._listener is None:
            return
        try:
            self._listener.handle(event)
        except Exception as err:
            self._listener = None
            warnings.warn(f"listener '{self._name}' failed and is dropped: {type(err).__name__}: {err}", stacklevel=2)
