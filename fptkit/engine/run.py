"""One run from recipe to summary: build, prove what is frozen, train, restore the best step, open the test once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fptkit import __version__
from fptkit.build import Built, build, check_encoder_width
from fptkit.engine.batches import TrainingBatches, evaluation_batches, parts_of, whole_split
from fptkit.engine.checkpoint import trained_tensors, write_model_files
from fptkit.engine.evaluate import EvaluationStopped, evaluate_batches
from fptkit.engine.events import Event, Listener, RunEnded, RunStarted, SplitTested
from fptkit.engine.facts import environment, peak_memory_mib, run_facts, versions
from fptkit.engine.folder import (
    CHECKPOINTS,
    METRICS,
    RECIPE,
    SUMMARY,
    is_complete,
    only_us,
    read_summary,
    recipe_for,
    resume_command,
)
from fptkit.engine.listeners import recipe_listeners
from fptkit.engine.loop import Trainer
from fptkit.engine.progress import ended_by, with_last_step
from fptkit.engine.records import MetricsFile, write_json, write_text
from fptkit.engine.share import share_notes, training_sample, training_share
from fptkit.errors import DivergedError, Interrupted, TrainingError, UsageError
from fptkit.freezing import FreezeProof, count_parameters
from fptkit.interfaces import Batch, check_best_metric
from fptkit.precision import choose_device
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Recipe
from fptkit.signals import StopRequest, stop_on_signals


@dataclass(frozen=True)
class RunRequest:
    """What is to be run, and where.

    Args:
        loaded: the checked recipe with its registry.
        folder: run folder.
        resume: go on where the folder stopped; without it the folder must not hold a run.
        listeners: followers besides those of the recipe and ``metrics.jsonl``.
        open_test: whether the test splits are opened at the end. Without it the run ends as ``validated``; the same
            request with it and ``resume`` opens them later and trains nothing more.
        pause_at: step at which to stop as ``paused``, or None. Rounded up to the next multiple of
            ``train.validate_every``, so that there is a validation and nothing of what comes after it changes; where
            training ends before, nothing is paused.

    Raises:
        UsageError: ``pause_at`` is below 1.
    """

    loaded: LoadedRecipe
    folder: Path
    resume: bool = False
    listeners: Sequence[Listener] = ()
    open_test: bool = True
    pause_at: int | None = None

    def __post_init__(self) -> None:
        if self.pause_at is not None and self.pause_at < 1:
            raise UsageError(f"a run cannot be paused at step {self.pause_at}; the first is 1")


def run(request: RunRequest) -> dict[str, Any]:
    """Carry out a run.

    Returns:
        The summary, as ``summary.json`` holds it. A run that is as far as it is asked to go is not built again: the
        summary there is comes back.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        DivergedError: the loss or the gradient is no longer a number.
        UsageError: the folder holds a run already, another process works in it, or another recipe made it.
        FptkitError: building or training failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("this version trains in one process; start it without torchrun or accelerate launch")
    device = choose_device(request.loaded.recipe.device)
    with only_us(request.folder), stop_on_signals() as stop:
        recipe = recipe_for(request.folder, request.loaded, resume=request.resume)
        before = read_summary(request.folder)
        if is_complete(before, recipe, open_test=request.open_test, pause_at=request.pause_at):
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

        if self._recipe.threads is not None:
            torch.set_num_threads(self._recipe.threads)
        # What the user's shell says to other programs must not change this run's arithmetic.
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )
        built = build(self._recipe, self._request.loaded.registry, accelerator.device)
        train = self._recipe.train
        whole, validation = (built.task.split(name) for name in ("train", "validation"))
        self._training = training_share(built.task, whole, train.data_fraction, train.seed, self._recipe.task.options)
        # A task or encoder that breaks its promises is told now, not after the first validation.
        batches = TrainingBatches(
            built.task, self._training, train.batch_size, train.seed, batch_tokens=train.batch_tokens
        )
        batch = batches.batch(0)
        first = parts_of(batch, train.accumulate)[0].to(device)  # no larger than what training holds
        next(evaluation_batches(built.task, "validation", validation, train, 0))
        check_encoder_width(built, first)
        check_best_metric(built.task)
        proof = FreezeProof(built.model)
        counts = count_parameters(built.model, built.task, first)
        flops_per_step = round(counts.flops * len(batch) / len(first) * batches.step_cost())
        self._options = with_last_step(train, flops_per_step)
        self._facts = run_facts(
            self._recipe, built, counts, device, flops_per_step=flops_per_step, notes=share_notes(whole, self._training)
        )
        self._frozen = {
            "backbone": self._recipe.backbone.name,
            "weights": built.model.backbone.weights,
            "seed": train.seed,
            "digest": proof.digest,
        }
        self._trainer = Trainer(
            built,
            self._options,
            train=self._training,
            validation=validation,
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
        self._listeners += [metrics_file, *recipe_listeners(self._recipe, self._request.loaded.registry, self._folder)]
        try:
            return self._train_and_test(built, proof)
        except Interrupted:
            self._write_summary("interrupted")
            raise
        except Exception as err:
            status = "diverged" if isinstance(err, DivergedError) else "failed"
            self._write_summary(status, reason=f"{type(err).__name__}: {err}")
            raise
        finally:
            metrics_file.close()

    def _train_and_test(self, built: Built, proof: FreezeProof) -> dict[str, Any]:
        train, progress = self._options, self._trainer.progress
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
        outcome = self._trainer.fit(self._request.pause_at)
        if outcome == "stopped":
            raise self._interrupted()
        if outcome == "paused":
            return self._end("paused", {})
        self._trainer.restore_best()
        proof.check_unchanged()
        write_model_files(
            self._folder,
            {"model": trained_tensors(built.model)},
            "model.json",
            {"step": progress.best_step, "frozen": self._frozen, "fptkit": __version__},
        )
        sample = self._on_training_sample(built)
        if not self._request.open_test:
            return self._end("validated", sample)
        self._times_tested += 1
        self._write_summary("running")  # a process killed while testing has opened the test all the same
        test: dict[str, dict[str, float]] = {}
        for name in built.task.test_splits:
            batches = evaluation_batches(built.task, name, built.task.split(name), train, progress.best_step)
            test[name] = self._evaluate(built, batches)
            self._emit(SplitTested(name, progress.best_step, test[name]))
        return self._end("finished", {**sample, "test": test})

    def _on_training_sample(self, built: Built) -> dict[str, dict[str, float]]:
        """Metrics of the best step's tensors on examples they were trained on, where the recipe asks for them."""
        train = self._options
        if train.training_sample is None:
            return {}
        sample = training_sample(built.task, self._training, train.training_sample, train.seed)
        return {"train": self._evaluate(built, whole_split(built.task, "train", sample, train.evaluation_batch_size))}

    def _evaluate(self, built: Built, batches: Iterable[Batch]) -> dict[str, float]:
        device = next(built.model.parameters()).device
        try:
            return evaluate_batches(
                built.model, built.task, batches, device=device, stop_requested=self._stop.requested
            )
        except EvaluationStopped:
            raise self._interrupted() from None

    def _end(self, status: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write the summary of a run that is as far as it was asked to go."""
        summary = self._write_summary(status, metrics)
        self._emit(RunEnded(summary))
        return summary

    def _emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener.handle(event)

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
        self, status: str, metrics: Mapping[str, Any] | None = None, *, reason: str = ""
    ) -> dict[str, Any]:
        """Write ``summary.json`` as things stand, with metrics besides those of validation; returns what it holds."""
        progress = self._trainer.progress
        over = status in ("validated", "finished")
        summary = {
            "status": status,
            **({"reason": reason} if reason else {}),
            "recipe": self._request.loaded.name,
            **self._facts,
            "metrics": {"validation": progress.best_metrics or {}, "test": {}, **(metrics or {})},
            "steps": progress.step,
            "best_step": progress.best_step,
            **({"ended_by": ended_by(self._options, progress)} if over else {}),
            "times_tested": self._times_tested,
            "seconds": round(progress.seconds, 3),
            "examples_per_second": round(progress.examples_per_second, 3),
            "peak_memory_mib": peak_memory_mib(),
            "versions": versions(),
        }
        write_json(self._folder / SUMMARY, summary)
        return summary
