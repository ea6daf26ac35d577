"""``preparation.json`` of a run folder: what its model takes and gives, and how new inputs are prepared for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fptkit.engine.build import Built
from fptkit.errors import DataError, PluginError
from fptkit.files import PREPARATION, read_json, write_bytes, write_sealed
from fptkit.interfaces import InputKind, OutputKind, Preparation
from fptkit.interfaces.descriptions import describe, described_input, described_output
from fptkit.registry import Registry
from fptkit.specs import TaskSpec
from fptkit.specs.base import resolve_target

FORMAT = 1


@dataclass(frozen=True)
class SavedPreparation:
    """The content of a run's ``preparation.json``.

    Args:
        task: name of the task.
        input: kind of its inputs.
        output: kind of its answers, with the names of classes or numbers.
        max_tokens: raw tokens of the longest example.
        encoder: name of the encoder of the model; the recipe need not name one.
        preparation: reads and prepares new inputs; None if the task has none.
    """

    task: str
    input: InputKind
    output: OutputKind
    max_tokens: int
    encoder: str
    preparation: Preparation | None


def write_preparation(folder: Path, name: str, built: Built) -> None:
    """Write ``preparation.json`` into a run folder, with the files that belong to it.

    Args:
        folder: the run folder.
        name: registered name of the task.
        built: the task, and the encoder of the model.
    """
    task = built.task
    if task.preparation is not None:
        for file, data in task.preparation.attachments().items():
            write_bytes(folder / file, data)
    content = {
        "format": FORMAT,
        "task": name,
        "input": describe(task.input),
        "output": describe(task.output),
        "max_tokens": task.max_tokens,
        "encoder": built.encoder_name,
        "preparation": None if task.preparation is None else task.preparation.model_dump(mode="json"),
    }
    write_sealed(folder / PREPARATION, content)


def read_preparation(folder: Path, registry: Registry) -> SavedPreparation:
    """Read ``preparation.json`` of a run folder. The training data need not exist.

    Args:
        folder: the run folder.
        registry: what the name of the task means.

    Raises:
        DataError: the file is missing, damaged, or of another version.
        UnknownNameError: no plugin has the task.
        PluginError: the task's record names no preparation although the run saved one.
    """
    path = folder / PREPARATION
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise DataError(f"{path} has format {content.get('format')!r}; this version reads format {FORMAT}")
    missing = [key for key in ("task", "input", "output", "max_tokens", "encoder", "preparation") if key not in content]
    if missing:
        raise DataError(f"{path} lacks '{missing[0]}'; replace it by an intact copy")
    preparation = content["preparation"]
    return SavedPreparation(
        content["task"],
        described_input(content["input"], str(path)),
        described_output(content["output"], str(path)),
        content["max_tokens"],
        content["encoder"],
        None if preparation is None else _restored(preparation, registry.get(TaskSpec, content["task"]), path),
    )


def _restored(content: object, spec: TaskSpec, path: Path) -> Preparation:
    if spec.preparation is None:
        raise PluginError(f"{spec}: it saved a preparation, but its record does not name the class in 'preparation'")
    kind = resolve_target(spec.preparation, wanted_by=spec)
    if not (isinstance(kind, type) and issubclass(kind, Preparation)):
        raise PluginError(f"{spec}: preparation {spec.preparation!r} is not a subclass of fptkit.Preparation")
    try:
        preparation = kind.model_validate(content)
    except ValidationError as err:
        fault = err.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise DataError(
            f"{path}: preparation.{place}: {fault['msg']}; the file is damaged or of another version of the task"
        ) from err
    preparation.attached(path.parent)
    return preparation
