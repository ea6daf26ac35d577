"""Metrics over a split: all of it, or the sample a protocol prescribes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from fptkit.engine.batches import evaluation_batches
from fptkit.engine.memory import Pieces
from fptkit.engine.team.processes import ALONE, Processes
from fptkit.engine.team.sharding import IdlePass
from fptkit.interfaces import Batch, Metrics, Split, Task
from fptkit.model import CrossModalModel
from fptkit.recipe.models import TrainOptions


class EvaluationStopped(Exception):
    """A signal asked to stop while a split was being evaluated."""


def evaluate(
    model: CrossModalModel,
    task: Task,
    name: str,
    split: Split,
    *,
    options: TrainOptions,
    step: int,
    device: torch.device,
    stop_requested: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
    pieces: Pieces | None = None,
    idle: IdlePass | None = None,
) -> dict[str, float]:
    """Evaluate a split.

    Args:
        model: put into evaluation mode and back.
        task: gives loss and metrics.
        name: of the split.
        split: the split.
        options: batch sizes, and the seed of a sampled evaluation.
        step: training step, see `fptkit.engine.batches.evaluation_batches`.
        device: the model's.
        stop_requested: asked between batches.
        processes: share the batches. What they find is put together in the order of the batches, so that the figures
            are those of one process bit for bit, whatever the task's metrics are.
        pieces: in how many a batch passes the model, more once memory runs out; None begins with whole batches. Loss
            and metrics take whole batches in any case.
        idle: made where there is no batch for this process, if weights are sharded.

    Returns:
        The task's metrics and ``loss``, the mean over examples.

    Raises:
        EvaluationStopped: ``stop_requested`` said yes.
        ShapeError: the split or one of its batches is not as the task declares.
        TrainingError: memory does not suffice for a single example.
    """
    batches = evaluation_batches(task, name, split, options, step, rank=processes.rank, count=processes.count)
    return evaluate_batches(
        model,
        task,
        batches,
        device=device,
        stop_requested=stop_requested,
        processes=processes,
        pieces=pieces,
        idle=idle,
    )


class _Found(NamedTuple):
    """What the model makes of a batch.

    Args:
        loss_sum: over its examples, float64.
        examples: how many they are.
        predictions: the model's.
        targets: the batch's.
    """

    loss_sum: Tensor
    examples: int
    predictions: Tensor
    targets: Tensor


class _Account:
    """Loss and metrics over the batches of an evaluation."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self._task = task
        self._metrics = Metrics.of(task).fresh(device)
        self._device = device
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._examples = 0

    def add(self, found: _Found) -> None:
        self._loss_sum += found.loss_sum.to(self._device)
        self._examples += found.examples
        predictions, targets = found.predictions.to(self._device), found.targets.to(self._device)
        self._metrics.update(*self._task.output.for_metrics(predictions, targets))

    def values(self) -> dict[str, float]:
        values = self._metrics.compute()
        if sampled := self._task.sampled_evaluation:
            for name in filter(self._metrics.is_accuracy, values):
                values[name] *= sampled.accuracy_factor
        return {"loss": float(self._loss_sum / self._examples), **values}


@torch.no_grad()
def evaluate_batches(
    model: CrossModalModel,
    task: Task,
    batches: Iterable[Batch | None],
    *,
    device: torch.device,
    stop_requested: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
    pieces: Pieces | None = None,
    idle: IdlePass | None = None,
) -> dict[str, float]:
    """Evaluate batches that lie on the CPU, of several processes each its own; see `evaluate`."""
    was_training = model.training
    model.eval()
    account, pieces = _Account(task, device), pieces or Pieces()
    try:
        for on_cpu in batches:
            if any(processes.any_of(stop_requested())):
                raise EvaluationStopped
            if on_cpu is None and idle is not None:
                idle.forward()
            own = None if on_cpu is None else _predict(model, task, on_cpu.to(device), pieces)
            if processes.count > 1 and own is not None:
                own = own._replace(
                    **{name: getattr(own, name).cpu() for name in ("loss_sum", "predictions", "targets")}
                )
            for found in processes.gather_on_main(own):
                if found is not None:
                    account.add(found)
        return processes.from_main(account.values)
    finally:
        model.train(was_training)


def _predict(model: CrossModalModel, task: Task, batch: Batch, pieces: Pieces) -> _Found:
    predictions = pieces.through(lambda piece: model(piece.inputs, piece.lengths), batch)
    loss_sum = task.loss(predictions, batch).double() * len(batch)
    return _Found(loss_sum, len(batch), predictions, batch.targets)
