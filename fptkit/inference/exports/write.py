"""Export a run's model into a folder: its files, README.md, the preparation, and the numeric check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fptkit.engine.checkpoint import trained_tensors
from fptkit.errors import ExportError
from fptkit.files import PREPARATION, RECIPE, new_folder, write_bytes, write_text
from fptkit.inference.delta import write_delta
from fptkit.inference.exports.check import Compute, compare
from fptkit.inference.exports.form import Form, form_of
from fptkit.inference.exports.formats import (
    DELTA_FILE,
    Format,
    check_packages,
    write_example,
    write_onnx,
    write_torch,
)
from fptkit.inference.exports.plain import Program, plain_model
from fptkit.inference.exports.readme import readme
from fptkit.inference.exports.trace import traced_program
from fptkit.inference.saved import SavedRun, opened
from fptkit.inference.sharing.places import paths_in, recipe_content, recipe_text, without_folders
from fptkit.inference.trained import TrainedModel, load


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        folder: the folder.
        files: its files by name, with their sizes in bytes.
        agreement: lines of the numeric check.
    """

    folder: Path
    files: dict[str, int]
    agreement: list[str]


def export(model: TrainedModel, to: Format, folder: Path) -> Exported:
    """Export a loaded model.

    Args:
        model: the model.
        to: ``torch-export``, ``onnx`` or ``safetensors``.
        folder: a folder that does not exist yet, or is empty.

    Raises:
        UsageError: the folder has files already, or packages are missing.
        ExportError: the model cannot be traced, or the export does not agree with the run; nothing is left.
    """
    check_packages(to)
    with new_folder(folder) as partial, opened(model.folder) as saved:
        _copy_preparation(model, saved, partial)
        try:
            form, agreement = _write_delta(model, saved, partial) if to == "safetensors" else _trace(model, to, partial)
        except ExportError as err:
            raise ExportError(f"{model.folder}: backbone '{model.loaded.recipe.backbone.name}' as {to}: {err}") from err
        write_text(partial / "README.md", readme(to, form, _facts(model), agreement))
        files = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
    return Exported(folder, files, agreement)


def _trace(model: TrainedModel, to: Format, folder: Path) -> tuple[Form, list[str]]:
    plain = plain_model(model.module)
    form = form_of(model.task, plain.encoder)
    program = Program(plain, form)
    exported, form = traced_program(program, form)
    if to == "torch-export":
        compute, by = write_torch(folder, exported), f"torch.export, torch {torch.__version__}"
    else:
        compute, by = write_onnx(folder, exported, form), "ONNX Runtime on the CPU"
    write_example(folder, form, program)
    return form, compare(form, compute, program, _own(model, form), _precision(model)).lines(by)


def _write_delta(model: TrainedModel, saved: SavedRun, folder: Path) -> tuple[Form, list[str]]:
    content = recipe_content(saved.folder / RECIPE)
    origin = dict(model.origin)
    # The places of the data are not needed. Those of the weights are: the frozen part is not in the file.
    known = paths_in(content.get("task"))
    content |= without_folders({key: content.get(key) for key in ("task", "plugins")}, known) | {"listeners": []}
    pinned = dict(content.get("pinned") or {})
    content["pinned"] = pinned | without_folders({"source": pinned.get("source")}, known)
    origin["data"] = without_folders(origin.get("data"), known)
    preparation = model.task.preparation
    path = folder / DELTA_FILE
    write_delta(
        path,
        trained_tensors(model.module),
        recipe=recipe_text(content, saved.folder / RECIPE),
        preparation=(saved.folder / PREPARATION).read_text(encoding="utf-8"),
        attachments={} if preparation is None else dict(preparation.attachments()),
        origin=origin,
    )
    again = load(path, device=str(model.device), plugin_files=model.loaded.recipe.plugins, weights=model.weights)
    form = form_of(model.task, model.module.encoder)
    agreement = compare(form, _own(again, form), _own(model, form), _own(model, form), "float32")
    return form, [line.replace("the run in float32", "the run") for line in agreement.lines("The loaded delta file")]


def _own(model: TrainedModel, form: Form) -> Compute:
    """The run itself, as it computes."""

    def compute(*tensors: Tensor) -> Tensor:
        inputs, lengths = form.inputs(tuple(tensor.to(model.device) for tensor in tensors))
        found: Tensor = model.module(inputs, lengths).float().cpu()
        return found

    return compute


def _precision(model: TrainedModel) -> str:
    return model.loaded.recipe.pinned.precision or "float32"


def _copy_preparation(model: TrainedModel, saved: SavedRun, folder: Path) -> None:
    preparation = model.task.preparation
    write_bytes(folder / PREPARATION, (saved.folder / PREPARATION).read_bytes())
    for name, data in ({} if preparation is None else preparation.attachments()).items():
        write_bytes(folder / name, data)


def _facts(model: TrainedModel) -> list[str]:
    """The title and lines about the run."""
    recipe, frozen = model.loaded.recipe, model.origin.get("frozen") or {}
    trained = sum(tensor.numel() for tensor in trained_tensors(model.module).values())
    weights = without_folders(str(frozen.get("weights")))
    return [
        f"{model.loaded.name}, exported by fptkit {model.origin.get('fptkit')}",
        f"task `{recipe.task.name}`, backbone `{recipe.backbone.name}` with the weights `{weights}`, freezing policy "
        f"`{recipe.freezing.name}`",
        f"trained numbers: {trained:,}; step {model.origin.get('step')}",
        f"digest of the frozen part: `{frozen.get('digest')}`",
    ]
