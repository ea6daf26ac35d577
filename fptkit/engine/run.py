"""One run from recipe to summary: build, prove what is frozen, train, restore the best step, open the test once."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fptkit import __version__
from fptkit.build import Built, build, check_encoder_width
from fptkit.engine.accelerator import make_accelerator
from fptkit.engine.batches import TrainingBatches, evaluation_batches, parts_of, whole_split
from fptkit.engine.cache.features import feature_cache
from fptkit.engine.checkpoint import trained_tensors, write_model_files
from fptkit.engine.evaluate import EvaluationStopped, evaluate_batches
from fptkit.engine.events import Event, FeaturesComputed, Listener, RunEnded, RunStarted, SplitTested
from fptkit.engine.facts import environment, peak_memory_mib, run_facts, versions
from fptkit.engine.folder import (
    CHECKPOINTS,
    ENVIRONMENT,
    METRICS,
    RECIPE,
    SUMMARY,
    code_notes,
    earlier_code,
    is_complete,
    only_us,
    read_summary,
    recipe_for,
    resume_command,
)
from fptkit.engine.fraction import share_notes, training_sample, training_share
from fptkit.engine.listeners import recipe_listeners
from fptkit.engine.loop import Trainer
from fptkit.engine.memory import smaller
from fptkit.engine.progress import ended_by, with_last_step
from fptkit.engine.records import MetricsFile, write_json, write_text
from fptkit.engine.signals import StopRequest, stop_on_signals
from fptkit.engine.team.processes import Processes, batch_norms, join_processes, local_device
from fptkit.engine.team.sharding import IdlePass, Sharded, check_blocks_run, meeting_place, shard_frozen
from fptkit.errors import DivergedError, Interrupted, TrainingError, UsageError
from fptkit.freezing import FreezeProof, count_parameters
from fptkit.freezing.proof import digest_tensors
from fptkit.interfaces import Batch, Split, check_best_metric
from fptkit.model import CrossModalModel
from fptkit.numerics.precision import choose_device
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Pinned, Recipe, TrainOptions

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.distributed.device_mesh import DeviceMesh


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
    """Carry out a run; where a launcher such as torchrun started several processes, all of them together.

    Returns:
        The summary, as ``summary.json`` holds it. A run that is as far as it is asked to go is not built again: the
        summary there is comes back.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        DivergedError: the loss or the gradient is no longer a number.
        UsageError: the folder holds a run already, another process works in it, or another recipe made it.
        FptkitError: building or training failed.
    """
    processes = join_processes()
    # Signals outermost: a launcher that ends all processes because one failed must not cut this one's last word off.
    with stop_on_signals() as stop, processes.ending_together(), contextlib.ExitStack() as stack:
        device = processes.together(lambda: local_device(choose_device(request.loaded.recipe.device), processes))
        processes.from_main(lambda: stack.enter_context(only_us(request.folder)))
        pinned, before = processes.from_main(lambda: _so_far(request))
        recipe = request.loaded.recipe.model_copy(update={"pinned": pinned})
        if is_complete(before, recipe, open_test=request.open_test, pause_at=request.pause_at):
            return before
        try:
            one = _Run(request, recipe, stop, processes, times_tested=before.get("times_tested", 0))
            return one.carry_out(device)
        except OSError as err:
            raise TrainingError(
                f"{request.folder}: {err}. The last whole checkpoint is kept; --resume goes on"
            ) from err


def _so_far(request: RunRequest) -> tuple[Pinned, dict[str, Any]]:
    """What an earlier part of the run took, and its summary."""
    recipe = recipe_for(request.folder, request.loaded, resume=request.resume)
    return recipe.pinned, read_summary(request.folder)


@dataclass(frozen=True)
class _Start:
    """What there is before the first pass.

    Args:
        built: the parts.
        whole: training split, of which a share may be used.
        validation: validation split.
        batches: training batches.
        first: a part of the first of them, on the device.
        first_size: examples of the first of them.
    """

    built: Built
    whole: Split
    validation: Split
    batches: TrainingBatches
    first: Batch
    first_size: int


class _Run:
    """The state that the stages of one run share."""

    def __init__(
        self, request: RunRequest, recipe: Recipe, stop: StopRequest, processes: Processes, *, times_tested: int
    ) -> None:
        self._request = request
        self._recipe = recipe
        self._folder = request.folder
        self._stop = stop
        self._processes = processes
        self._times_tested = times_tested
        self._listeners: list[Listener] = list(request.listeners)

    def carry_out(self, device: torch.device) -> dict[str, Any]:
        """All stages, in order."""
        accelerator = make_accelerator(device)
        if self._recipe.threads is not None:
            torch.set_num_threads(self._recipe.threads)
        self._mesh = self._processes.together(lambda: self._meeting_place(device))
        start = self._processes.together(lambda: self._build(accelerator.device))
        built = start.built
        self._check_same(built)
        # Not as `together`: where weights are sharded, passes need all processes, and one that fails must not be
        # waited for in the middle of a pass. It leaves word.
        self._prepare(start, accelerator, device)
        if self._request.resume:
            self._trainer.restore()
        with contextlib.ExitStack() as stack:
            self._processes.from_main(lambda: self._open_folder(built, stack))
            return self._train_and_test_or_say_why(built)

    def _meeting_place(self, device: torch.device) -> DeviceMesh | None:
        """Where sharded weights come together, if the recipe has them sharded and there are processes to share them.

        Raises:
            UsageError: the recipe wants the model compiled, too.
        """
        train = self._recipe.train
        if self._processes.count == 1 or train.shard_frozen == "never":
            return None
        if train.compile:
            # A step that does not compile is taken again, in the middle of which the others would wait.
            raise UsageError("train.compile and train.shard_frozen: always do not go together; leave one of them out")
        return meeting_place(device, self._processes)

    def _build(self, device: torch.device) -> _Start:
        """Build the parts, and see whether they keep their promises."""
        built = build(self._recipe, self._request.loaded.registry, device, finish=self._finish)
        train = self._recipe.train
        whole, validation = (built.task.split(name) for name in ("train", "validation"))
        self._training = training_share(built.task, whole, train.data_fraction, train.seed, self._recipe.task.options)
        # A task or encoder that breaks its promises is told now, not after the first validation.
        batches = TrainingBatches(
            built.task, self._training, train.batch_size, train.seed, batch_tokens=train.batch_tokens
        )
        batch = batches.batch(0)
        # No larger than what training holds, and the same in all processes: the first one's.
        first = parts_of(parts_of(batch, self._processes.count)[0], train.accumulate)[0].to(device)
        next(evaluation_batches(built.task, "validation", validation, train, 0))
        check_encoder_width(built, first)
        check_best_metric(built.task)
        return _Start(built, whole, validation, batches, first, len(batch))

    def _finish(self, model: CrossModalModel) -> None:
        """Digest the frozen weights while they are whole; then shard them, if they are to be."""
        self._proof = FreezeProof(model)
        self._sharded = None
        if self._mesh is not None:
            self._sharded = shard_frozen(model, self._recipe.backbone.name, self._mesh, self._processes)

    def _prepare(self, start: _Start, accelerator: Accelerator, device: torch.device) -> None:
        """Count, and make the trainer. All processes pass the same examples."""
        built, train, processes = start.built, self._recipe.train, self._processes
        first, count = start.first, partial(count_parameters, built.model, built.task)
        self._idle = None
        if self._sharded is not None:
            self._idle = IdlePass(built.model, built.task, first)
            check_blocks_run(built.model, self._recipe.backbone.name, self._sharded, self._idle)
            counts = count(first)
        else:
            first, counts = smaller(first, count)
        flops_per_step = round(counts.flops * start.first_size / len(first) * start.batches.step_cost())
        self._options = with_last_step(train, flops_per_step)
        self._features = feature_cache(
            built,
            self._recipe,
            self._options,
            self._proof.digest,
            training=self._training,
            validation=start.validation,
            processes=processes.count,
        )
        notes = [
            *share_notes(start.whole, self._training),
            *_processes_notes(built, processes),
            *_sharding_notes(train, self._sharded, processes),
            *self._features.notes,
            *code_notes(self._folder),
        ]
        self._facts = {
            **run_facts(self._recipe, built, counts, device, flops_per_step=flops_per_step, notes=notes),
            "processes": processes.count,
        }
        self._frozen = {
            "backbone": self._recipe.backbone.name,
            "weights": built.model.backbone.weights,
            "seed": train.seed,
            "digest": self._proof.digest,
        }
        self._trainer = Trainer(
            self._features.built,
            self._options,
            train=self._features.training,
            validation=self._features.validation,
            accelerator=accelerator,
            checkpoints=self._folder / CHECKPOINTS,
            proof=self._proof,
            frozen=self._frozen,
            emit=self._emit,
            stop=self._stop,
            processes=processes,
            idle=self._idle,
        )

    def _check_same(self, built: Built) -> None:
        """Raise where the processes would not train the same model on the same examples."""
        self._processes.check_same(
            {
                "recipe": hashlib.sha256(self._recipe.model_dump_json(exclude={"plugins"}).encode()).hexdigest(),
                "task.source": built.task.source,
                "backbone.weights": built.model.backbone.weights,
                "precision": built.precision,
                "number of training examples": self._training.size,
                "frozen part": self._proof.digest,
                "trained part": self._trained_digest(built),
            }
        )

    def _trained_digest(self, built: Built) -> str:
        """Says whether the processes hold the same; a single one need not ask."""
        return digest_tensors(trained_tensors(built.model).items()) if self._processes.count > 1 else ""

    def _open_folder(self, built: Built, stack: contextlib.ExitStack) -> None:
        """Get the run folder and the followers ready."""
        metrics_file = MetricsFile(self._folder / METRICS, keep_lines=self._trainer.progress.events)
        stack.callback(metrics_file.close)
        self._pin(built)
        self._write_summary("running")
        self._listeners += [metrics_file, *recipe_listeners(self._recipe, self._request.loaded.registry, self._folder)]

    def _train_and_test_or_say_why(self, built: Built) -> dict[str, Any]:
        try:
            return self._train_and_test(built)
        except Interrupted:
            self._write_summary("interrupted")
            raise
        except Exception as err:
            status = "diverged" if isinstance(err, DivergedError) else "failed"
            self._write_summary(status, reason=f"{type(err).__name__}: {err}")
            raise

    def _train_and_test(self, built: Built) -> dict[str, Any]:
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
        if self._trainer.goes_on() and not self._features.fill(self._stop.requested, self._tell_features):
            raise self._interrupted()
        outcome = self._trainer.fit(self._request.pause_at)
        if outcome == "stopped":
            raise self._interrupted()
        if outcome == "paused":
            return self._end("paused", {})
        self._trainer.restore_best()
        self._processes.together(self._proof.check_unchanged)
        self._processes.check_same({"trained part": self._trained_digest(built)})
        self._processes.from_main(
            lambda: write_model_files(
                self._folder,
                {"model": trained_tensors(built.model)},
                "model.json",
                {"step": progress.best_step, "frozen": self._frozen, "fptkit": __version__},
            )
        )
        sample = self._on_training_sample(built)
        if not self._request.open_test:
            return self._end("validated", sample)
        self._times_tested += 1
        self._processes.from_main(
            lambda: self._write_summary("running")
        )  # a process killed while testing has opened the test all the same
        test: dict[str, dict[str, float]] = {}
        for name in built.task.test_splits:
            split = self._processes.together(partial(built.task.split, name))
            batches = evaluation_batches(built.task, name, split, train, progress.best_step, **self._turn)
            test[name] = self._evaluate(built, batches)
            self._emit(SplitTested(name, progress.best_step, test[name]))
        return self._end("finished", {**sample, "test": test})

    def _on_training_sample(self, built: Built) -> dict[str, dict[str, float]]:
        """Metrics of the best step's tensors on examples they were trained on, where the recipe asks for them."""
        train = self._options
        if train.training_sample is None:
            return {}
        sample = training_sample(built.task, self._training, train.training_sample, train.seed)
        batches = whole_split(built.task, "train", sample, train.evaluation_batch_size, **self._turn)
        return {"train": self._evaluate(built, batches)}

    @property
    def _turn(self) -> dict[str, int]:
        """Which batches of an evaluation this process takes."""
        return {"rank": self._processes.rank, "count": self._processes.count}

    def _evaluate(self, built: Built, batches: Iterable[Batch | None]) -> dict[str, float]:
        device = next(built.model.parameters()).device
        try:
            with self._trainer.evaluation_pieces() as pieces:
                return evaluate_batches(
                    built.model,
                    built.task,
                    batches,
                    device=device,
                    stop_requested=self._stop.requested,
                    processes=self._processes,
                    pieces=pieces,
                    idle=self._idle,
                )
        except EvaluationStopped:
            raise self._interrupted() from None

    def _end(self, status: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write the summary of a run that is as far as it was asked to go."""
        summary = self._processes.from_main(lambda: self._write_summary(status, metrics))
        self._emit(RunEnded(summary))
        return summary

    def _tell_features(self, done: int, total: int) -> None:
        self._emit(FeaturesComputed(done, total))

    def _emit(self, event: Event) -> None:
        if not self._processes.main:
            return
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
        found = environment(self._request.loaded.registry, earlier_code=earlier_code(self._folder))
        write_json(self._folder / ENVIRONMENT, found)

    def _interrupted(self) -> Interrupted:
        (number,) = self._processes.most(self._stop.signal_number)  # it may have come to one process only
        return Interrupted(number, self._trainer.progress.step, resume_command(self._folder))

    def _write_summary(
        self, status: str, metrics: Mapping[str, Any] | None = None, *, reason: str = ""
    ) -> dict[str, Any]:
        """Write ``summary.json`` as things stand, with metrics besides those of validation; returns what it holds.

        In the main process only: elsewhere nothing is written."""
        progress = self._trainer.progress
        over = status in ("validated", "finished")
        summary = {
            "status": status,
            **({"reason": reason} if reason else {}),
            "recipe": self._request.loaded.name,
            **self._facts,
            "metrics": {"validation": progress.best_metrics or {}, "test": {}, **(metrics or {})},
            "steps": progress.step,
            "validated_step": max(progress.validated_step, 0),
            "best_step": progress.best_step,
            "parts": progress.parts,
            "evaluation_parts": progress.evaluation_parts,
            "compiled": self._trainer.compiled,
            **({"ended_by": ended_by(self._options, progress)} if over else {}),
            "times_tested": self._times_tested,
            "seconds": round(progress.seconds, 3),
            "examples_per_second": round(progress.examples_per_second, 3),
            "peak_memory_mib": peak_memory_mib(),
            "versions": versions(),
        }
        if self._processes.main:
            write_json(self._folder / SUMMARY, summary)
        return summary


def _processes_notes(built: Built, processes: Processes) -> list[str]:
    """What the run header says where several processes do not the very same as one."""
    if processes.count == 1 or not batch_norms(built.model):
        return []
    return ["batch norms take mean and variance over each process's part of a batch, not over the whole of it"]


def _sharding_notes(train: TrainOptions, sharded: Sharded | None, processes: Processes) -> list[str]:
    """What the run header says of sharded weights."""
    if sharded is not None:
        return [
            f"frozen matrices are sharded: each of {processes.count} processes holds {sharded.held / 2**20:,.1f} of "
            f"{sharded.whole / 2**20:,.1f} MiB, and all else whole"
        ]
    if train.shard_frozen == "always":
        return ["train.shard_frozen: always, but there is one process, so nothing is sharded; start more by torchrun"]
    return []
