"""Evaluates a trained model: on the splits of its run, which need the training data, or on other labelled examples.

Splits are evaluated as in training, with the same batches, so on one machine the figures are the same bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from fptkit.engine.assessment.assessor import SplitAssessor
from fptkit.engine.batches import evaluation_batches, whole_split
from fptkit.engine.build import build_task
from fptkit.engine.data import check_same_data, data_reference
from fptkit.engine.evaluate import evaluate
from fptkit.engine.fraction import training_fraction, training_sample
from fptkit.engine.memory import Pieces
from fptkit.engine.opening import open_split
from fptkit.engine.team.processes import ALONE
from fptkit.engine.team.team import Team
from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.files import read_summary
from fptkit.inference.inputs import PATH, Given, batches, files_among, read
from fptkit.inference.openings import open_files, open_test, record_split
from fptkit.inference.result import Evaluation, Part
from fptkit.inference.saved_task import SavedTask
from fptkit.interfaces import Batch, Examples, Metrics, Split, Task, Values
from fptkit.model import CrossModalModel
from fptkit.recipe.load import LoadedRecipe
from fptkit.sources.identity import Place, Snapshot
from fptkit.specs import TaskSpec
from fptkit.specs.base import resolve_target
from fptkit.tasks.reading.paths import places

TEST = "test"
"""Means every test split."""


class Trained(Protocol):
    """What an evaluation needs of a `fptkit.inference.trained.TrainedModel`."""

    folder: Path
    loaded: LoadedRecipe
    module: CrossModalModel
    task: SavedTask
    origin: dict[str, Any]


def evaluate_split(model: Trained, name: str) -> Evaluation:
    """Evaluate a split of the run's data, as training did.

    Args:
        model: what the run trained.
        name: ``train``, ``validation``, ``test`` for all test splits, or the name of one of them.

    Raises:
        DataError: the training data are gone, or are others than in training.
        UnknownNameError: there is no such split.
        UsageError: the split is endless, or the run folder cannot be written.
    """
    recipe = model.loaded.recipe
    with threads_of(model):
        task = _task_of(model)
        splits = _named_splits(task, name)
        digest = "" if task.data is None else task.data.digest
        if splits[0] in task.test_splits:
            times: int | None = open_test(model.folder, splits, digest)
        else:
            times = None
            record_split(model.folder, splits, digest)
        found = {}
        for split_name in splits:
            options, step = recipe.train, int(model.origin.get("step", 0))
            training = split_name == "train"
            split = _training(task, recipe) if training else open_split(task, split_name, options.seed_of("data"))
            if training:
                made: Iterable[Batch] = whole_split(task, "train", split, options.evaluation_batch_size)
            else:
                made = evaluation_batches(task, split_name, split, options, step)
            found[split_name] = _evaluated(model, task, split_name, made, split.size)
    return Evaluation(found, times)


def evaluate_source(model: Trained, source: Given, *, batch_size: int) -> Evaluation:
    """Evaluate labelled files; how often files of this content were opened is counted in the run folder.

    Args:
        model: what the run trained.
        source: files, as for predictions.
        batch_size: examples of a batch.

    Raises:
        UsageError: the examples have no labels, or the run folder cannot be written.
        FptkitError: the files cannot be read or prepared.
    """
    entries = files_among(source)
    if entries is None:
        raise UsageError(f"evaluate: source is {source!r:.60}; give files as path:FILE, or contents as inputs")
    snapshot = Snapshot.take(_places_of(model, entries))
    found = read(model.task, entries, labelled=True)
    _check_labelled(model, found)
    digest = snapshot.identity(", ".join(entries)).digest if snapshot.files else ""
    times = open_files(model.folder, entries, digest)
    name = ", ".join(entry.removeprefix(PATH) for entry in entries)
    notes = found.notes if isinstance(found, Examples) else ()
    if digest and digest == (model.origin.get("data") or {}).get("digest"):
        notes = (*notes, "these are the data of the run: it was trained on a part of them")
    return replace(_of_examples(model, found, name, batch_size), times_opened=times, notes=notes)


def evaluate_inputs(model: Trained, inputs: Given, labels: Any, *, batch_size: int) -> Evaluation:
    """Evaluate examples in memory, which is not counted.

    Args:
        model: what the run trained.
        inputs: as for predictions.
        labels: a sequence with the label of each example as the data write it; for several target columns a mapping of
            such sequences; for a task without a preparation, an array of targets. None if the inputs have their own.
        batch_size: examples of a batch.

    Raises:
        UsageError: there are no labels, or another number of labels than of examples.
        FptkitError: the inputs cannot be prepared.
    """
    found = read(model.task, inputs, labelled=True)
    if labels is not None:
        found = _labelled(model, found, labels)
    _check_labelled(model, found)
    return _of_examples(model, found, "examples", batch_size)


@contextlib.contextmanager
def threads_of(model: Trained) -> Iterator[None]:
    """The number of threads that the run's recipe asks for, since results may depend on it."""
    before, wanted = torch.get_num_threads(), model.loaded.recipe.threads
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _task_of(model: Trained) -> Task:
    """The run's task with its data, which must be those of the training."""
    try:
        task = build_task(model.loaded.recipe, model.loaded.registry)
    except SourceError as err:
        reasons = "; ".join(f"{entry}: {reason}" for entry, reason in err.tried)
        raise DataError(
            f"{model.folder}: its training data are needed to evaluate one of its splits, but {reasons}. Put them "
            "back, or evaluate other labelled files with --source FILE"
        ) from err
    facts = None if task.data is None else task.data.facts()
    before = model.origin.get("data") or {}
    now = data_reference(facts)
    if before and now and before.get("digest") != now["digest"]:
        check_same_data(before, now, model.folder)
    return task


def _named_splits(task: Task, name: str) -> tuple[str, ...]:
    known = ("train", "validation", *task.test_splits)
    if name == TEST:
        return task.test_splits
    if name not in known:
        raise UnknownNameError("split", name, known)
    return (name,)


def _training(task: Task, recipe: Any) -> Split:
    """The training examples that were used, without augmentation."""
    train, seed = recipe.train, recipe.train.seed_of("data")
    used = training_fraction(task, open_split(task, "train", seed), train.data_fraction, seed, recipe.task.options)
    if used.size is None:
        raise UsageError(f"task {recipe.task.name}: its training examples are endless; evaluate validation or test")
    return training_sample(task, used, used.size, seed)


def _evaluated(model: Trained, task: Task, name: str, made: Iterable[Batch], size: int | None) -> Part:
    """Metrics and assessment of batches."""
    parts = read_summary(model.folder).get("evaluation_parts", 1)
    team = Team(pieces=Pieces(parts if isinstance(parts, int) else 1))
    assessor = SplitAssessor(task, name, size)
    metrics = evaluate(model.module, task, made, team, assessor=assessor)
    assessed = assessor.result(ALONE)
    assert assessed is not None, "a single process is the main one"
    known = Metrics.of(task)
    return Part(metrics, tuple(filter(known.is_fraction, metrics)), assessed)


def _of_examples(model: Trained, found: Examples | Batch, name: str, batch_size: int) -> Evaluation:
    made = None
    if isinstance(found, Examples) and model.task.preparation is not None:
        made = model.task.preparation.labelled_batches(found, batch_size)
    made = made or (given.batch for given in batches(model.task, found, batch_size))
    with threads_of(model):
        return Evaluation({name: _evaluated(model, model.task, name, made, len(found))})


def _places_of(model: Trained, entries: Sequence[str]) -> list[Place]:
    """Where the files are that entries stand for, with those that a table lists."""
    recipe = model.loaded.recipe
    spec = model.loaded.registry.get(TaskSpec, recipe.task.name)
    found: list[Place] = []
    for entry in entries:
        files: list[Path] = []
        if spec.files is not None:
            with contextlib.suppress(SourceError, DataError):
                files = list(map(Path, resolve_target(spec.files, wanted_by=spec)(recipe.task.options, entry)))
        if files and (place := Place.around(files)) is not None:
            found.append(place)
        elif entry.startswith(PATH):
            with contextlib.suppress(SourceError):  # reading reports it
                found += map(Place, places(entry))
    return found


def _labelled(model: Trained, found: Examples | Batch, labels: Any) -> Examples | Batch:
    """Examples with these labels."""
    if isinstance(found, Batch):
        return replace(found, targets=_targets(model, labels, found))
    target = getattr(model.task.preparation, "target", None)
    columns = tuple(getattr(target, "columns", ()))
    by_column = labels if isinstance(labels, Mapping) else {(*columns, "label")[0]: labels}
    cells = {name: [str(cell) for cell in some] for name, some in by_column.items()}
    for name, some in cells.items():
        if len(some) != len(found):
            raise UsageError(f"evaluate: {len(found):,} examples, but {len(some):,} labels of '{name}'")
    if lacking := [name for name in columns if name not in cells]:
        raise UsageError(f"evaluate: labels of '{lacking[0]}' are missing; give a mapping with {', '.join(columns)}")
    return replace(found, labels=cells)


def _targets(model: Trained, labels: Any, batch: Batch) -> Tensor:
    numbers = isinstance(model.task.output, Values)
    found = torch.as_tensor(labels).to(torch.float32 if numbers else torch.int64)
    if found.shape != batch.targets.shape:
        raise UsageError(f"evaluate: labels have shape {tuple(found.shape)}, expected {tuple(batch.targets.shape)}")
    return found


def _check_labelled(model: Trained, found: Examples | Batch) -> None:
    """Raise if examples have no labels."""
    if isinstance(found, Batch) or found.labels:
        return
    assert model.task.preparation is not None
    if model.task.preparation.labelled_batches(found, 1) is not None:
        return  # labels are a part of the content
    target = getattr(model.task.preparation, "target", None)
    columns = ", ".join(getattr(target, "columns", ()))
    lacking = f" '{columns}'" if columns else ""
    raise UsageError(f"{found.names[0]}: no labels{lacking} as in the training data, so there is nothing to compare")
