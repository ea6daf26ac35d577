"""What users give a model: files, contents, or prepared batches; as batches of examples with names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fptkit.engine.batches import rows_of
from fptkit.errors import DataError, ShapeError, SourceError, UsageError
from fptkit.interfaces import IGNORED, Batch, Examples, Inputs, Preparation, Task, TokenClasses, Values, check_batch
from fptkit.interfaces.token_classes import target_shape
from fptkit.tasks.reading.numpy_files import read_npy, read_npz

Given: TypeAlias = Any
"""What users give a model; see `fptkit.inference.trained.TrainedModel`."""

PATH = "path:"

_SCHEMES = (PATH, "hf:")
"""How text begins that names files, or a data set of Hugging Face."""


class NamedBatch(NamedTuple):
    """Prepared examples.

    Args:
        names: what each example is called.
        batch: the examples, on the CPU.
        examples: what they were before preparation; None if they were given prepared.
    """

    names: Sequence[str]
    batch: Batch
    examples: Examples | None


def files_among(given: Given) -> list[str] | None:
    """The entries ``path:…`` if only files are given, or None.

    A `Path`, or text that begins with ``path:``, names a file or folder; so does a list of them.
    """
    entries = [given] if isinstance(given, (str, Path)) else given
    if not isinstance(entries, (list, tuple)) or not entries:
        return None
    if not all(isinstance(entry, Path) or (isinstance(entry, str) and entry.startswith(_SCHEMES)) for entry in entries):
        return None
    return list(map(entry_of, entries))


def entry_of(place: str | Path) -> str:
    """A place as an entry of a source: ``path:PLACE``, unless it is one already."""
    return str(place) if str(place).startswith(_SCHEMES) else f"{PATH}{place}"


def read(task: Task, given: Given, *, labelled: bool = False) -> Examples | Batch:
    """Examples to prepare, or a prepared batch.

    Args:
        task: the task; its preparation reads files.
        given: files, `Examples`, a sequence of contents, or prepared inputs as a `Batch`, array or tensor.
        labelled: whether labels are kept, if there are some; false leaves them out, so that wrong ones do no harm.

    Raises:
        UsageError: the task has no preparation, and the inputs are not prepared.
        DataError: there are no examples, or a file cannot be read.
    """
    if isinstance(given, (Batch, Examples)):
        found: Examples | Batch = given
    elif task.preparation is None:
        found = _prepared(task, given)
    elif (files := files_among(given)) is not None:
        found = _of_files(task.preparation, files)
    elif hasattr(given, "iloc"):
        raise UsageError(
            "the inputs are a table of pandas; write it to a file (to_parquet, to_csv) and give path:FILE, or give "
            "its rows: table.to_dict('records')"
        )
    elif not hasattr(given, "__len__"):
        raise UsageError(f"predict: the inputs are {given!r:.60}; give a list of contents, or files as path:FILE")
    elif isinstance(given, str):
        raise UsageError(f"predict: {given[:60]!r} is one text; give a list of contents, or a file as path:FILE")
    else:
        found = Examples(given, [f"example {number}" for number in range(1, len(given) + 1)])
    if len(found) == 0:
        raise DataError("there are no examples to predict; give at least one")
    return found if labelled or isinstance(found, Batch) else replace(found, labels={})


def batches(task: Task, found: Examples | Batch, size: int) -> Iterator[NamedBatch]:
    """Prepare examples in batches, in their order.

    Args:
        task: the task; its preparation prepares them.
        found: the examples, or a prepared batch.
        size: examples of a batch.

    Raises:
        UsageError: ``size`` is below 1.
        FptkitError: an example cannot be prepared, or is not what the model takes.
    """
    if size < 1:
        raise UsageError(f"batch_size is {size}; it must be at least 1")
    for start in range(0, len(found), size):
        rows = range(start, min(start + size, len(found)))
        if isinstance(found, Batch):
            names = [f"example {row + 1}" for row in rows]
            batch, examples = rows_of(found, slice(rows.start, rows.stop)), None
        else:
            assert task.preparation is not None
            examples = found.take(rows)
            names, batch = list(examples.names), _prepare(task.preparation, examples)
        try:
            check_batch(task, batch, len(rows), where=f"{names[0]} to {names[-1]}" if len(rows) > 1 else names[0])
        except ShapeError as err:
            err.exit_code = UsageError.exit_code  # the inputs do not fit the model
            raise
        yield NamedBatch(names, batch, examples)


def _prepare(preparation: Preparation, examples: Examples) -> Batch:
    """Prepare examples. Contents in memory may be anything, so what a preparation stumbles over is an error of theirs.

    Raises:
        DataError: they are not of the kind that the preparation takes.
        FptkitError: an example cannot be prepared.
    """
    try:
        return preparation.prepare(examples)
    except (AttributeError, LookupError, TypeError, ValueError) as err:
        raise DataError(
            f"{examples.names[0]}, or one of the next: not what the training data have ({type(err).__name__}: {err}); "
            "give the content of an example as its file has it, or name files as path:FILE"
        ) from err


def _of_files(preparation: Preparation, files: Sequence[str]) -> Examples:
    """The examples of files.

    Raises:
        DataError: there is nothing at a place, or a file cannot be read.
    """
    try:
        return preparation.read(files)
    except SourceError as err:  # made for recipes: several lines, about an option
        raise DataError("; ".join(_reason(*tried) for tried in err.tried) or str(err)) from err
    except OSError as err:
        raise DataError(f"{err.filename or files[0]}: cannot be read ({err.strerror or err})") from err


def _reason(entry: str, reason: str) -> str:
    """Why there is nothing at a place, with the place."""
    place = entry.removeprefix(PATH)
    return reason if place in reason else f"{place}: {reason}"


def _prepared(task: Task, given: Given) -> Batch:
    """Inputs in the form that the model takes, with targets of zeros."""
    if (files := files_among(given)) is not None:
        if len(files) != 1 or not files[0].endswith((".npy", ".npz")):
            raise UsageError(
                f"the task has no rule for reading new files; give one .npy or .npz with prepared inputs "
                f"({task.input}), not {', '.join(files)}"
            )
        return _read_arrays(task, Path(files[0].removeprefix(PATH)))
    if isinstance(given, Mapping):
        inputs: Inputs = {str(name): _tensor(part) for name, part in given.items()}
        return _with_targets(task, inputs, None)
    return _with_targets(task, _tensor(given), None)


def _read_arrays(task: Task, path: Path) -> Batch:
    """``inputs`` and, for sequences of unequal length, ``lengths`` of a NumPy file."""
    arrays = read_npz(path) if path.suffix.lower() == ".npz" else {"inputs": read_npy(path)}
    if "inputs" not in arrays:
        raise DataError(f"{path}: it has no array 'inputs', but {', '.join(arrays) or 'none'}")
    lengths = arrays.get("lengths")
    targets = arrays.get("targets")
    batch = _with_targets(task, _tensor(arrays["inputs"]), None if lengths is None else _tensor(lengths).long())
    return batch if targets is None else Batch(batch.inputs, _target(task, targets), batch.lengths)


def _target(task: Task, targets: np.ndarray) -> Tensor:
    found = torch.as_tensor(targets)
    return found.float() if found.is_floating_point() else found.long()


def _tensor(given: Any) -> Tensor:
    """Numbers as a tensor: whole numbers as int64, others as float32."""
    try:
        found = torch.as_tensor(np.ascontiguousarray(given) if not isinstance(given, Tensor) else given)
    except (TypeError, ValueError) as err:
        raise DataError(f"the inputs are not an array of numbers: {err}") from err
    return found.float() if found.is_floating_point() else found.long()


def _with_targets(task: Task, inputs: Inputs, lengths: Tensor | None) -> Batch:
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    if first.ndim < 2:
        raise DataError(f"the inputs have shape {tuple(first.shape)}; expected examples of {task.input}")
    if not isinstance(inputs, Mapping) and task.input.name in ("vectors", "grid"):
        inputs = inputs.float()
    shape = target_shape(task.output, len(first), task.input.tokens_in(inputs))
    targets = torch.zeros(shape, dtype=torch.float32 if isinstance(task.output, Values) else torch.int64)
    if lengths is not None and isinstance(task.output, TokenClasses):
        targets.masked_fill_(torch.arange(shape[1]) >= lengths[:, None], IGNORED)
    return Batch(inputs, targets, lengths)
