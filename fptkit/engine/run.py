"""One run from recipe to summary: build, prove what is frozen, train, restore the best step, open the test once."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fptkit import __version__
from fptkit.build import Built, build, build_component
from fptkit.engine.checkpoint import trained_tensors, write_model_files
from fptkit.engine.evaluate import EvaluationStopped, evaluate
from fptkit.engine.events import Event, Listener, RunEnded, RunStarted, SplitTested
from fptkit.engine.loop import Trainer
from fptkit.engine.records import MetricsFile, write_json
from fptkit.engine.signals import StopRequest, stop_on_signals
from fptkit.errors import FptkitError, Interrupted, UsageError
from fptkit.freezing import FreezeProof, ParameterCounts, count_parameters
from fptkit.interfaces import Batch, Task, check_batch
from fptkit.precision import choose_device
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Recipe
from fptkit.seeds import generator_for
from fptkit.specs import ListenerSpec

SUMMARY = "summary.json"
RECIPE = "recipe.yaml"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"

_VERSIONED = ("torch", "transformers", "accelerate", "numpy", "pydantic", "pluggy", "safetensors", "torchmetrics")


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
        The summary, as ``summary.json`` holds it.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        UsageError: the folder holds a run already, another process works in it, or another recipe made it.
        FptkitError: building or training failed.
    """
    with _only_us(request.folder), stop_on_signals() as stop:
        recipe = _prepare_folder(request)
        finished = _finished_summary(request, recipe)
        if finished is not None:
            return finished
        return _Run(request, recipe, stop).carry_out()


class _Run:
    """The state that the stages of one run share."""

    def __init__(self, request: RunRequest, recipe: Recipe, stop: StopRequest) -> None:
        self._request = request
        self._recipe = recipe
        self._folder = request.folder
        self._stop = stop
        self._listeners = [*request.listeners, *_recipe_listeners(request, recipe)]

    def carry_out(self) -> dict[str, Any]:
        from accelerate import Accelerator

        recipe = self._recipe
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError("this version trains in one process; start it without torchrun or accelerate launch")
        device = choose_device(recipe.device)
        accelerator = Accelerator(cpu=device.type == "cpu")
        built = build(recipe, self._request.loaded.registry, accelerator.device)
        first = _first_batch(built.task, "train", recipe.train.batch_size)
        _first_batch(built.task, "validation", recipe.train.evaluation_batch_size)
        counts = count_parameters(built.model, built.task, first.to(accelerator.device))
        proof = FreezeProof(built.model)
        self._notes = built.model.backbone.notes + built.task.notes
        self._facts = _facts(recipe, built, counts, accelerator.device)
        frozen = {
            "backbone": recipe.backbone.name,
            "weights": built.model.backbone.weights,
            "seed": recipe.train.seed,
            "digest": proof.digest,
        }
        self._trainer = Trainer(
            built,
            recipe.train,
            accelerator=accelerator,
            checkpoints=self._folder / CHECKPOINTS,
            proof=proof,
            frozen=frozen,
            emit=self._emit,
            stop=self._stop,
        )
        if self._request.resume:
            self._trainer.restore()
        self._pin(built)
        metrics_file = MetricsFile(self._folder / METRICS, keep_lines=self._trainer.progress.events)
        self._listeners.append(metrics_file)
        try:
            return self._train_and_test(built, proof, frozen, accelerator.device)
        except FptkitError as err:
            if not isinstance(err, Interrupted):
                write_json(self._folder / SUMMARY, {**self._summary("failed", {}), "reason": str(err)})
            raise
        finally:
            metrics_file.close()

    def _train_and_test(
        self, built: Built, proof: FreezeProof, frozen: dict[str, Any], device: torch.device
    ) -> dict[str, Any]:
        train = self._recipe.train
        self._emit(
            RunStarted(
                self._request.loaded.name,
                self._folder,
                self._facts,
                self._notes,
                self._trainer.progress.step,
                train.max_steps,
                train.batch_size,
            )
        )
        if not self._trainer.fit():
            raise self._interrupted()
        self._trainer.restore_best()
        proof.check_unchanged()
        test: dict[str, dict[str, float]] = {}
        for name in built.task.test_splits:
            try:
                metrics = evaluate(
                    built.model,
                    built.task,
                    built.task.split(name),
                    batch_size=train.evaluation_batch_size,
                    device=device,
                    stop_requested=self._stop.requested,
                )
            except EvaluationStopped:
                raise self._interrupted() from None
            test[name] = metrics
            self._emit(SplitTested(name, self._trainer.progress.best_step, metrics))
        write_model_files(
            self._folder,
            {"model": trained_tensors(built.model)},
            "model.json",
            {"step": self._trainer.progress.best_step, "frozen": frozen, "fptkit": __version__},
        )
        summary = self._summary("finished", test)
        write_json(self._folder / SUMMARY, summary)
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
            *(f"{name} {version}" for name, version in _versions().items()),
        ]
        (self._folder / RECIPE).write_text(dump_recipe(resolved, header), encoding="utf-8")
        write_json(self._folder / "environment.json", _environment(self._request))

    def _interrupted(self) -> Interrupted:
        write_json(self._folder / SUMMARY, self._summary("interrupted", {}))
        return Interrupted(self._stop.signal_number, self._trainer.progress.step, resume_command(self._folder))

    def _summary(self, status: str, test: dict[str, dict[str, float]]) -> dict[str, Any]:
        progress = self._trainer.progress
        return {
            "status": status,
            "recipe": self._request.loaded.name,
            **self._facts,
            "metrics": {"validation": progress.best_metrics or {}, "test": test},
            "majority_accuracy": dict(self._trainer.task.majority_accuracy),
            "notes": list(self._notes),
            "steps": progress.step,
            "best_step": progress.best_step,
            "seconds": round(progress.seconds, 3),
            "examples_per_second": round(progress.examples_per_second, 3),
            "peak_memory_mib": _peak_memory_mib(),
            "versions": _versions(),
        }


def _first_batch(task: Task, split: str, batch_size: int) -> Batch:
    """The first examples of a split, held against what the task declares: a broken promise is told at once."""
    examples = task.split(split)
    size = min(batch_size, examples.size or batch_size)
    batch = examples.batch(range(size), generator_for(0, "first", split))
    check_batch(task, batch, size, where=f"{type(task).__name__}, split {split}")
    return batch


def resume_command(folder: Path) -> str:
    """The command that goes on with the run of ``folder``."""
    return f"fptkit run {folder / RECIPE} --output {folder} --resume"


@contextlib.contextmanager
def _only_us(folder: Path) -> Iterator[None]:
    """Keep a second process out of the run folder.

    Raises:
        UsageError: one is at work there, or the folder cannot be made.
    """
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(f"another run is at work in {folder}") from None
    except OSError as err:
        raise UsageError(f"the run folder {folder} cannot be used: {err}") from err
    try:
        yield
    finally:
        lock.release()


def _prepare_folder(request: RunRequest) -> Recipe:
    """The recipe to run; on resume with what the first part of the run had taken.

    Raises:
        UsageError: the folder holds a run and it is not to be resumed, or another recipe made it.
    """
    from fptkit.recipe.load import load_recipe

    recipe = request.loaded.recipe
    saved_file = request.folder / RECIPE
    if not saved_file.exists():
        return recipe
    if not request.resume:
        raise UsageError(f"{request.folder} holds a run already. Go on with it by --resume, or choose another --output")
    saved = load_recipe(str(saved_file), registry_loader=lambda files: request.loaded.registry).recipe
    differing = _differences(_comparable(saved), _comparable(recipe))
    if differing:
        raise UsageError(
            f"{request.folder} was made by another recipe; it differs in {', '.join(differing)}. "
            f"Go on with the saved one:\n  {resume_command(request.folder)}"
        )
    return recipe.model_copy(update={"pinned": saved.pinned})


def _comparable(recipe: Recipe) -> dict[str, Any]:
    """What must not change when a run is resumed: all but how long it trains, and notes."""
    content = recipe.model_dump(mode="json", exclude={"pinned", "description"})
    for name in ("max_steps", "patience"):
        content["train"].pop(name)
    return content


def _differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Dotted paths at which two trees differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted(ours.keys() | theirs.keys()):
            found += _differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if ours == theirs else [path]


def _finished_summary(request: RunRequest, recipe: Recipe) -> dict[str, Any] | None:
    """The summary of a run that is complete and not asked to train longer."""
    import json

    file = request.folder / SUMMARY
    if not (request.resume and file.exists()):
        return None
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    complete = summary["status"] == "finished" and recipe.train.max_steps <= summary["max_steps"]
    return summary if complete else None


def _recipe_listeners(request: RunRequest, recipe: Recipe) -> list[Listener]:
    made: list[Listener] = []
    for section in recipe.listeners:
        spec = request.loaded.registry.get(ListenerSpec, section.name)
        made.append(build_component(spec, section.options, folder=request.folder))
    return made


def _facts(recipe: Recipe, built: Built, counts: ParameterCounts, device: torch.device) -> dict[str, Any]:
    """What is known before training, as ``summary.json`` says it."""
    task, backbone = built.task, built.model.backbone
    return {
        "task": {
            "name": recipe.task.name,
            "protocol": getattr(recipe.task.options, "protocol", "clean"),
            "source": task.source,
            "stand_in": task.stand_in,
        },
        "backbone": {"name": recipe.backbone.name, "weights": backbone.weights, "stand_in": backbone.stand_in},
        "encoder": built.encoder_name,
        "readout": built.readout,
        "freezing": recipe.freezing.name,
        "parameters": {"total": counts.total, "trained": counts.trained, "reached": counts.reached},
        "max_steps": recipe.train.max_steps,
        "batch_size": recipe.train.batch_size,
        "learning_rate": recipe.train.learning_rate,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": built.precision,
        "seed": recipe.train.seed,
    }


def _versions() -> dict[str, str]:
    return {
        "fptkit": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _VERSIONED},
    }


def _environment(request: RunRequest) -> dict[str, Any]:
    """Where the run took place."""
    return {
        "versions": _versions(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "command": sys.argv,
        "plugins": [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "status": plugin.status,
            }
            for plugin in request.loaded.registry.plugins
        ],
    }


def _peak_memory_mib() -> float:
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
