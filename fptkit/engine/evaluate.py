"""Metrics over a split: all of it, or the sample a protocol prescribes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from fptkit.engine.batches import evaluation_batches
from fptkit.interfaces import Batch, Split, Task, Values
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

    Returns:
        The task's metrics and ``loss``, the mean over examples.

    Raises:
        EvaluationStopped: ``stop_requested`` said yes.
        ShapeError: the split or one of its batches is not as the task declares.
    """
    batches = evaluation_batches(task, name, split, options, step)
    return evaluate_batches(model, task, batches, device=device, stop_requested=stop_requested)


@torch.no_grad()
def evaluate_batches(
    model: CrossModalModel,
    task: Task,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    stop_requested: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Evaluate batches that lie on the CPU; see `evaluate`."""
    was_training = model.training
    model.eval()
    metrics = task.metrics().to(device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    count = 0
    try:
        for on_cpu in batches:
            if stop_requested():
                raise EvaluationStopped
            batch = on_cpu.to(device)
            predictions = model(batch.inputs, batch.lengths)
            loss_sum += task.loss(predictions, batch).double() * len(batch)
            count += len(batch)
            if isinstance(task.output, Values):
                metrics.update(predictions, batch.targets)
            else:
                metrics.update(predictions.flatten(0, -2), batch.targets.flatten())
        values = {name: float(value) for name, value in metrics.compute().items()}
        if task.sampled_evaluation and "accuracy" in values:
            values["accuracy"] *= task.sampled_evaluation.accuracy_factor
        return {"loss": float(loss_sum / count), **values}
    finally:
        model.train(was_training)
