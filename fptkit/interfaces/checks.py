"""Checks that a task and its batches match what the task declares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import get_args

import torch
from torch import Tensor

from fptkit.errors import DivergedError, PluginError, ShapeError
from fptkit.interfaces.answer_kind import AnswerKind
from fptkit.interfaces.batch import Batch
from fptkit.interfaces.kinds import Symbols, Vectors
from fptkit.interfaces.metrics import Metrics
from fptkit.interfaces.mixed import InputKind
from fptkit.interfaces.one_tensor import Faults
from fptkit.interfaces.task import Task
from fptkit.specs.guard import during, owner_of


def check_task_declarations(task: Task) -> None:
    """Check a task's declared attributes, before any batch is drawn.

    Raises:
        PluginError: an attribute is missing or has the wrong type.
    """
    name = type(task).__name__
    for attribute, kinds in (("input", get_args(InputKind)), ("output", (AnswerKind,)), ("max_tokens", (int,))):
        value = getattr(task, attribute, None)
        if not isinstance(value, kinds):
            expected = "a kind of answer, such as fptkit.Classes" if attribute == "output" else _either(kinds)
            raise PluginError(f"task {name}: '{attribute}' is {value!r}, expected {expected}")
    _check_answer_kind(task.output, name)
    if task.input.fixed_tokens not in (None, task.max_tokens):
        raise PluginError(
            f"task {name}: 'max_tokens' is {task.max_tokens}, but its input has {task.input.fixed_tokens} raw tokens; "
            "set it to input.max_tokens"
        )
    if task.output.each_token and not isinstance(task.input, (Vectors, Symbols)):
        raise PluginError(
            f"task {name}: its output is {type(task.output).__name__}, an answer for every token, but its input is "
            f"{task.input.name}; use Vectors or Symbols"
        )
    if isinstance(task.test_splits, str) or not all(isinstance(split, str) for split in task.test_splits):
        raise PluginError(f"task {name}: test_splits is {task.test_splits!r}, expected a tuple of names")
    if task.higher_is_better not in (None, True, False):
        raise PluginError(f"task {name}: higher_is_better is {task.higher_is_better!r}, expected True, False or None")
    if task.precision not in (None, "float32", "bfloat16", "int8", "int8_storage"):
        raise PluginError(
            f"task {name}: precision is {task.precision!r}, expected float32, bfloat16, int8, int8_storage or None"
        )
    chance = task.chance_accuracy
    if chance is not None and not (isinstance(chance, int | float) and 0 <= chance <= 1):
        raise PluginError(f"task {name}: chance_accuracy is {chance!r}, expected a number from 0 to 1, or None")


def _either(kinds: tuple[type, ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _check_answer_kind(kind: AnswerKind, task: str) -> None:
    """Raise if a plugin's kind of answers cannot be described in a run folder, or its head has no output."""
    what = f"task {task}: its kind of answers, {type(kind).__name__},"
    if not is_dataclass(kind):
        raise PluginError(f"{what} is not a dataclass; put @dataclass(frozen=True) above the class")
    if not kind.name:
        raise PluginError(f"{what} has no name; set name, for example to '{type(kind).__name__.lower()}'")
    width = kind.head_width()
    if not isinstance(width, int) or width < 1:
        raise PluginError(f"{what} has head_width() {width!r}; return an integer of at least 1")
    if kind.each_token and kind.tokens != 1:
        raise PluginError(f"{what} answers each token, so tokens must be 1; it is {kind.tokens!r}")


def check_best_metric(task: Task) -> None:
    """Check that a task's best metric exists and that its direction is known.

    Not part of `check_task_declarations`, since a task may import a large library for its metrics.

    Raises:
        PluginError: the best metric is unknown or its direction is, or an accuracy factor is set without an accuracy.
    """
    metrics = Metrics.of(task)
    best, _ = task.selection()
    metrics.check_has(best)
    sampled = task.sampled_evaluation
    if sampled and sampled.accuracy_factor != 1 and not any(map(metrics.is_accuracy, metrics.names)):
        raise PluginError(
            f"task {type(task).__name__}: sampled_evaluation.accuracy_factor is {sampled.accuracy_factor:g}, but none "
            f"of its metrics ({', '.join(metrics.names)}) is an accuracy; derive one from fptkit.Accuracy"
        )


def check_selected(task: Task, metrics: Mapping[str, float], where: str) -> None:
    """Check that validation metrics include a usable value of the task's best metric.

    Args:
        task: the task, which names its best metric.
        metrics: results of validation.
        where: the step, for the message.

    Raises:
        PluginError: the best metric is missing, since it gives values under other names.
        DivergedError: its value is NaN, which cannot be compared.
    """
    best, _ = task.selection()
    if best not in metrics:
        raise PluginError(
            f"task {type(task).__name__}: best_metric '{best}' is not among the values {', '.join(metrics)}; set it to "
            "a metric that gives one number"
        )
    if math.isnan(metrics[best]):
        raise DivergedError(
            f"the validation metric '{best}' {where} is NaN, so it cannot choose the best step. If the model gives the "
            "same answer for every example, lower train.learning_rate; otherwise fix the metric, or set best_metric of "
            f"{type(task).__name__} to another one, such as loss"
        )


def check_loss(task: Task, loss: object, logits: Tensor) -> Tensor:
    """Check a task's loss, and return it.

    Args:
        task: the task.
        loss: what its ``loss`` returned.
        logits: what it was given.

    Raises:
        PluginError: it is not a scalar with a gradient; or, in a task of a plugin, not finite although all logits are.
    """
    where = f"task {type(task).__name__}: loss()"
    if not isinstance(loss, Tensor):
        raise PluginError(f"{where} returned {loss!r:.80}, expected a scalar tensor made from the logits")
    if loss.ndim:
        raise PluginError(f"{where} returned a tensor of shape {tuple(loss.shape)}, expected a scalar; take its mean")
    if not loss.is_floating_point():
        raise PluginError(f"{where} returned {loss.dtype}, expected a floating-point scalar")
    if logits.requires_grad and not loss.requires_grad:
        raise PluginError(
            f"{where} returned a tensor without a gradient, so nothing can train; compute it from the logits with "
            "torch's operations, without detach(), item() or no_grad()"
        )
    numbers = owner_of(task) and type(loss) is Tensor and loss.device.type != "meta"
    if numbers and not bool(torch.isfinite(loss)) and bool(torch.isfinite(logits).all()):
        raise PluginError(f"{where} is {float(loss.detach())} on the first batch, although all logits are finite")
    return loss


def check_mean_of_examples(task: Task, batch: Batch, logits: Tensor) -> None:
    """Check that the loss of a kind of answers is a mean over examples, as micro-batches and processes need it.

    Args:
        task: the task; one with a loss of its own is not checked.
        batch: a batch.
        logits: any for this batch, different for each example.

    Raises:
        PluginError: the loss of the batch is not the mean of the losses of its examples.
    """
    if type(task).loss is not Task.loss:
        return
    output, targets = task.output, batch.targets
    whole = float(output.loss(logits, targets))
    each = [float(output.loss(logits[row : row + 1], targets[row : row + 1])) for row in range(len(batch))]
    mean = sum(each) / len(each)
    if not math.isclose(whole, mean, rel_tol=1e-3, abs_tol=1e-5):
        raise PluginError(
            f"task {type(task).__name__}: the loss of its kind of answers, {type(output).__name__}, is {whole:.6g} for "
            f"a batch, but {mean:.6g} as the mean over its examples; train.accumulate would train another loss"
        )


def check_metrics(task: Task, logits: Tensor, targets: Tensor) -> None:
    """Update new metrics of a plugin's task with one batch; a metric that fails would only fail after many steps.

    Args:
        task: the task.
        logits: of a batch.
        targets: of the same batch.

    Raises:
        FptkitError: a metric does not fit.
    """
    if owner_of(task):
        with during(of=task, call="metrics"):
            metrics = Metrics.of(task).fresh(logits.device)
            metrics.update(*task.output.for_metrics(logits, targets))


def check_batch(task: Task, batch: Batch, size: int, *, where: str) -> None:
    """Check a batch against what its task declares.

    Args:
        task: the task; its ``input``, ``output`` and ``max_tokens`` are used.
        batch: the batch, on the CPU.
        size: expected number of examples.
        where: task and split, for the message.

    Raises:
        ShapeError: a count, shape, dtype or range differs from the declaration.
    """
    for wrong, message in _batch_faults(task, batch, size):
        if wrong:
            raise ShapeError(f"{where}: {message}")


def _batch_faults(task: Task, batch: Batch, size: int) -> Faults:
    yield not isinstance(batch, Batch), f"expected a fptkit.Batch, got a {type(batch).__name__}"
    inputs, targets = batch.inputs, batch.targets
    yield from task.input.faults(inputs, size, task.max_tokens)
    yield targets.ndim < 1, "targets have no dimension"
    yield len(targets) != size, f"expected {size} targets, got {len(targets)}"
    shortest = task.input.tokens_in(inputs)
    if batch.lengths is not None:
        yield not task.input.varies, "lengths must be None for a grid, which has no padding"
        yield from task.input.length_faults(inputs, batch.lengths, size)
        shortest -= int(task.input.padding(inputs, batch.lengths).max())
    yield shortest < task.output.tokens, f"an example has {shortest} tokens, but {task.output.tokens} are read out"
    expected = task.output.target_shape(size, task.input.tokens_in(inputs))
    yield tuple(targets.shape) != tuple(expected), f"targets are {tuple(targets.shape)}, expected {expected}"
    yield from task.output.target_faults(targets)
    yield from task.output.padding_faults(targets, batch.lengths)
    yield from task.output.input_faults(inputs, targets)
