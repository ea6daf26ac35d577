"""Pretraining on a task: a run that trains all weights, then an export of its backbone as a weights folder.

The run is an ordinary one, in the folder ``run`` inside the output folder: resuming, signals, checkpoints and the
choice of the best step work as in every run. The exported weights are evaluated as stored.

Source: Lu et al. 2021, section 3.3 and Table 2: the transformer pretrained on Bit Memory.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fptkit.engine.batches import evaluation_batches
from fptkit.engine.build import Built, build
from fptkit.engine.checkpoint import read_model_files, restore_trained
from fptkit.engine.evaluate import evaluate
from fptkit.engine.events import Event, Listener, RunStarted
from fptkit.engine.run import RunRequest
from fptkit.engine.run import run as carry_out
from fptkit.errors import DataError, Interrupted, UsageError
from fptkit.files import RECIPE, locked_folder, read_summary, write_json, write_text
from fptkit.lab.pretraining.layouts import check_exportable, describe_backbone, round_weights, write_backbone
from fptkit.lab.pretraining.loop import CHECKPOINT
from fptkit.lab.pretraining.next_token import WEIGHTS, write_weights
from fptkit.lab.pretraining.recipes import LoadedTaskPretraining
from fptkit.lab.pretraining.task_card import write_task_card
from fptkit.numerics.precision import choose_device
from fptkit.recipe.dump import dump_mapping, dump_recipe
from fptkit.recipe.load import LoadedRecipe, load_recipe, load_saved_recipe
from fptkit.recipe.models import Recipe
from fptkit.sources.weights import MEASUREMENT
from fptkit.specs import TaskSpec

RUN = "run"
INPUT_OUTPUT = "input_output.safetensors"


@dataclass(frozen=True)
class TaskPretrainResult:
    """Result of a finished pretraining.

    Args:
        output: folder with model.safetensors, config.json and README.md.
        steps: training steps done.
        seconds: wall-clock seconds of training.
        validation: metrics of the best step, as trained.
        test: metrics of each test split, with the weights as stored.
        fractions: names of the metrics between 0 and 1; they are shown in percent.
    """

    output: Path
    steps: int
    seconds: float
    validation: dict[str, float]
    test: dict[str, dict[str, float]]
    fractions: tuple[str, ...] = ()


def pretrain(
    loaded: LoadedTaskPretraining, output: Path, *, resume: bool = False, listeners: Sequence[Listener] = ()
) -> TaskPretrainResult:
    """Train all weights on a task and write the backbone as a weights folder.

    Args:
        loaded: the checked recipe.
        output: folder of the result, with the run in its subfolder ``run``; created if missing.
        resume: resume the run in ``output``, or start one if there is none. A finished run is only exported again.
        listeners: receive the events of the run.

    Raises:
        UsageError: ``output`` cannot be created or is in use by another process; it holds a pretraining and ``resume``
            is false; its pretraining is of another recipe or kind; or it holds a model without the run that made it.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        FptkitError: building or training failed.
    """
    command = f"fptkit pretrain {shlex.quote(str(output / RECIPE))} --output {shlex.quote(str(output))} --resume"
    with locked_folder(output, "pretraining"):
        _check_output(output, resume=resume)
        if loaded.run.recipe.backbone.name == "vit":
            check_exportable(getattr(loaded.run.recipe.backbone.options, "weights", ()))
        keeper = _RecipeKeeper(loaded, output / RECIPE)
        try:
            carry_out(RunRequest(loaded.run, output / RUN, resume=resume, listeners=[*listeners, keeper]))
        except Interrupted as stopped:
            raise Interrupted(stopped.signal_number, stopped.step, command) from None
        measured = export(output, output, save_dtype=loaded.save_dtype, loaded=loaded.run)
    return TaskPretrainResult(
        output,
        measured["steps"],
        measured["seconds"],
        measured["validation"],
        measured["test_as_stored"],
        tuple(measured["fractions"]),
    )


def _check_output(output: Path, *, resume: bool) -> None:
    """Refuse a folder that holds something this training must not overwrite. Writes nothing."""
    if (output / CHECKPOINT).exists():
        raise UsageError(f"{output} holds a pretraining of another kind ({CHECKPOINT}). Choose another --output")
    if (output / RUN).exists() and not resume:
        raise UsageError(f"{output} holds a pretraining already. Resume it with --resume, or choose another --output")
    if (output / WEIGHTS).exists() and not read_summary(output / RUN):
        raise UsageError(f"{output} holds a model ({WEIGHTS}) but no run that made it. Choose another --output")


class _RecipeKeeper:
    """Writes the recipe to resume from when the run starts; not earlier, so that a refused run leaves no files.

    Args:
        loaded: the recipe.
        file: where to write it.
    """

    def __init__(self, loaded: LoadedTaskPretraining, file: Path) -> None:
        self._loaded, self._file = loaded, file

    def handle(self, event: Event) -> None:
        """See `fptkit.engine.events.Listener`."""
        if not isinstance(event, RunStarted) or self._file.exists():
            return
        run = self._loaded.run
        pinned = run.recipe.pinned.model_copy(
            update={"recipe": run.name, "profile": run.profile or run.recipe.pinned.profile}
        )
        head = dump_mapping(
            {"kind": "task", "save_dtype": self._loaded.save_dtype},
            [f"Pretraining recipe of {run.name}, every default written out."],
        )
        write_text(self._file, head + dump_recipe(run.recipe.model_copy(update={"pinned": pinned})))


def export(
    output: Path,
    destination: Path,
    *,
    save_dtype: str = "bfloat16",
    title: str | None = None,
    loaded: LoadedRecipe | None = None,
) -> dict[str, Any]:
    """Write the backbone of a finished run as a weights folder, and evaluate it as stored on all test splits.

    Encoder and head are written as well, so that the figures can be reproduced; a weights folder does not need them.

    Args:
        output: folder of the pretraining.
        destination: folder for model.safetensors, config.json, README.md and measurement.json.
        save_dtype: dtype of the exported weights.
        title: heading of the model card; by default the name of ``destination``.
        loaded: the recipe with its registry; by default read from the run, with the installed plugins.

    Returns:
        The content of measurement.json.

    Raises:
        DataError: the folder holds no finished pretraining on a task.
        CheckpointError: the trained tensors are damaged.
        UsageError: backbones of this architecture cannot be exported.
    """
    run = output / RUN
    summary = read_summary(run)
    if summary.get("status") != "finished":
        raise DataError(
            f"'{output}' holds no finished pretraining on a task: the run in {run} is missing or not finished"
        )
    if loaded is None:
        saved = load_recipe(str(run / RECIPE))
    else:
        saved = replace(loaded, recipe=load_saved_recipe(run / RECIPE, loaded.registry))
    device = choose_device(saved.recipe.device)
    built = build(saved.recipe, saved.registry, device)
    manifest, files = read_model_files(run, "model.json")
    restore_trained(built.model, files["model"], origin=run)
    backbone = built.model.backbone
    round_weights(backbone, save_dtype)
    measured = _measure(built, saved.recipe, summary, step=manifest["step"])
    write_backbone(backbone, destination, save_dtype)
    write_weights(_input_output(built), destination / INPUT_OUTPUT)
    write_json(destination / MEASUREMENT, measured)
    card = write_task_card(
        saved.recipe,
        saved.registry.get(TaskSpec, saved.recipe.task.name),
        measured,
        described=describe_backbone(backbone),
        positions=backbone.max_positions or 0,
        title=title or destination.resolve().name,
        save_dtype=save_dtype,
    )
    write_text(destination / "README.md", card)
    return measured


def _measure(built: Built, recipe: Recipe, summary: dict[str, Any], *, step: int) -> dict[str, Any]:
    """Facts of the training, and the metrics of the model with its current weights on all test splits."""
    task = built.task
    batches = {name: evaluation_batches(task, name, task.split(name), recipe.train, step) for name in task.test_splits}
    test = {name: evaluate(built.model, task, own) for name, own in batches.items()}
    return {
        "steps": summary["steps"],
        "best_step": step,
        "examples": summary["steps"] * recipe.train.batch_size,
        "seconds": round(summary["seconds"], 1),
        "device": summary["device"],
        "threads": summary["threads"],
        "precision": summary["precision"],
        "parameters": sum(parameter.numel() for parameter in built.model.backbone.parameters()),
        "started_from": summary["backbone"]["weights"],
        "task": recipe.task.name,
        "source": built.task.source,
        "stand_in": built.task.stand_in,
        "notes": list(built.task.notes),
        "protocol": built.task.protocol,
        "tokens": built.encoded_tokens or built.task.max_tokens,
        "majority_accuracy": dict(built.task.majority_accuracy),
        "fractions": summary["fractions"],
        "validation": summary["metrics"]["validation"],
        "test": summary["metrics"]["test"],
        "test_as_stored": test,
    }


def _input_output(built: Built) -> dict[str, Tensor]:
    """The trained tensors of encoder and head, by their names in the complete model."""
    return {
        name: tensor.detach().cpu()
        for name, tensor in built.model.state_dict().items()
        if not name.startswith("backbone.")
    }
