"""Whether a task and its batches are as declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from fptkit.errors import PluginError, ShapeError
from fptkit.interfaces.batch import Batch
from fptkit.interfaces.kinds import KIND_NAMES, Classes, Grid, Mixed, Symbols, Values, Vectors
from fptkit.interfaces.task import Task


def check_task_declarations(task: Task) -> None:
    """Check what a task says of itself, before any batch is drawn.

    Raises:
        PluginError: an attribute is missing or of another type.
    """
    name = type(task).__name__
    for attribute, kinds in (("input", tuple(KIND_NAMES)), ("output", (Classes, Values)), ("max_tokens", (int,))):
        value = getattr(task, attribute, None)
        if not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise PluginError(f"task {name}: '{attribute}' is {value!r}, expected {expected}")
    if isinstance(task.input, (Grid, Mixed)) and task.max_tokens != task.input.max_tokens:
        raise PluginError(
            f"task {name}: 'max_tokens' is {task.max_tokens}, but its input has {task.input.max_tokens} raw tokens; "
            "set it to input.max_tokens"
        )
    if isinstance(task.test_splits, str) or not all(isinstance(split, str) for split in task.test_splits):
        raise PluginError(f"task {name}: test_splits is {task.test_splits!r}, expected a tuple of names")


def check_best_metric(task: Task) -> None:
    """Check that the metric which chooses the best step is one of the task's. Apart, since metrics take long to import.

    Raises:
        PluginError: it is not.
    """
    metrics = {*task.metrics(), "loss"}
    best, _ = task.selection()
    if best not in metrics:
        known = ", ".join(sorted(metrics))
        raise PluginError(f"task {type(task).__name__}: best_metric '{best}' is none of {known}")


def check_batch(task: Task, batch: Batch, size: int, *, where: str) -> None:
    """Hold a batch against what its task declares.

    Args:
        task: gives ``input``, ``output`` and ``max_tokens``.
        batch: on the CPU.
        size: examples that were asked for.
        where: task and split, for the message.

    Raises:
        ShapeError: a count, shape, dtype or range is not as declared.
    """
    for wrong, message in _batch_faults(task, batch, size):
        if wrong:
            raise ShapeError(f"{where}: {message}")


def _batch_faults(task: Task, batch: Batch, size: int) -> Iterator[tuple[bool, str]]:
    """Pairs of condition and message; each may rely on those before it having held."""
    yield not isinstance(batch, Batch), f"it gave a {type(batch).__name__}, expected a fptkit.Batch"
    inputs, targets, lengths = batch.inputs, batch.targets, batch.lengths
    if isinstance(task.input, Mixed):
        yield from _mixed_faults(task.input, inputs, size)
        tokens = sum(_raw_tokens(kind, inputs[name]) for name, kind in task.input.parts.items())
        last, padded = task.input.parts[task.input.last], inputs[task.input.last]
    else:
        yield from _tensor_faults(task.input, inputs, size, task.max_tokens)
        tokens, last, padded = _raw_tokens(task.input, inputs), task.input, inputs
    yield targets.ndim < 1, "targets have no dimension"
    yield len(targets) != size, f"{size} examples asked for, {len(targets)} targets given"
    if lengths is not None:
        yield isinstance(last, Grid), "lengths are given, but every example of a grid has all its cells"
        yield lengths.shape != (size,), f"lengths are {tuple(lengths.shape)}, expected {(size,)}"
        yield int(lengths.min()) < 1, "an example has no token"
        yield int(lengths.max()) > padded.shape[1], "a length exceeds the batch's tokens"
    shortest = tokens if lengths is None else tokens - padded.shape[1] + int(lengths.min())
    yield shortest < task.output.tokens, f"an example of {shortest} tokens, but {task.output.tokens} are read out"
    expected = task.output.target_shape(size)
    yield tuple(targets.shape) != expected, f"targets are {tuple(targets.shape)}, expected {expected}"
    if isinstance(task.output, Classes):
        yield targets.dtype != torch.int64, f"targets are {targets.dtype}, expected torch.int64"
        yield int(targets.min()) < 0, "a target is negative"
        yield int(targets.max()) >= task.output.count, f"a target is not below {task.output.count}"
    else:
        yield targets.dtype != torch.float32, f"targets are {targets.dtype}, expected torch.float32"
        yield not bool(torch.isfinite(targets).all()), "targets hold NaN or infinity"


def _mixed_faults(kind: Mixed, inputs: object, size: int) -> Iterator[tuple[bool, str]]:
    given = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else f"a {type(inputs).__name__}"
    named = isinstance(inputs, Mapping) and tuple(inputs) == tuple(kind.parts)
    yield not named, f"inputs are {given}, expected a mapping with the parts {', '.join(kind.parts)} in this order"
    assert isinstance(inputs, Mapping)
    for name, part in kind.parts.items():
        count = kind.tokens_of(name)
        for wrong, message in _tensor_faults(part, inputs[name], size, count):
            yield wrong, f"part '{name}': {message}"
        yield (
            name != kind.last and _raw_tokens(part, inputs[name]) != count,
            f"part '{name}' has {_raw_tokens(part, inputs[name])} tokens, declared are {count}, which may vary in the "
            f"last part only",
        )


def _tensor_faults(
    kind: Vectors | Symbols | Grid, inputs: Tensor, size: int, max_tokens: int
) -> Iterator[tuple[bool, str]]:
    """What is wrong with the inputs of one kind."""
    yield not isinstance(inputs, Tensor), f"inputs are a {type(inputs).__name__}, expected a tensor"
    dimensions = {Vectors: 3, Symbols: 2, Grid: 4}[type(kind)]
    yield inputs.ndim != dimensions, f"inputs have shape {tuple(inputs.shape)}, expected {dimensions} dimensions"
    yield len(inputs) != size, f"{size} examples asked for, {len(inputs)} given"
    yield inputs.shape[1] < 1, "the examples have no token"
    tokens = _raw_tokens(kind, inputs)
    if isinstance(kind, Grid):
        shape, declared = tuple(inputs.shape[1:]), (*kind.size, kind.channels)
        yield shape != declared, f"the grids are {shape}, the task declares (H, W, C) = {declared}"
    yield tokens > max_tokens, f"{tokens} tokens exceed max_tokens {max_tokens}"
    if isinstance(kind, Symbols):
        yield inputs.dtype != torch.int64, f"symbols are {inputs.dtype}, expected torch.int64"
        yield int(inputs.min()) < 0, "a symbol is negative"
        yield int(inputs.max()) >= kind.count, f"a symbol is not below {kind.count}"
        return
    word = "grids" if isinstance(kind, Grid) else "vectors"
    yield inputs.dtype != torch.float32, f"{word} are {inputs.dtype}, expected torch.float32"
    if isinstance(kind, Vectors):
        shape = tuple(inputs.shape[2:])
        yield shape != (kind.width,), f"tokens hold {shape} numbers, the task declares {kind.width}"
    yield not bool(torch.isfinite(inputs).all()), "inputs hold NaN or infinity"


def _raw_tokens(kind: Vectors | Symbols | Grid, inputs: Tensor) -> int:
    return kind.max_tokens if isinstance(kind, Grid) else inputs.shape[1]
