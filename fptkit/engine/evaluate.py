"""Metrics over a split: all of it, or the sample a protocol prescribes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from fptkit.engine.ahead import for_device, to_host
from fptkit.engine.assessment.assessor import SplitAssessor
from fptkit.engine.memory import Pieces
from fptkit.engine.team.team import Team
from fptkit.interfaces import Batch, Metrics, Task
from fptkit.model import CrossModalModel, batch_for
from fptkit.specs.guard import during


class EvaluationStopped(Exception):
    """A stop was requested during an evaluation."""


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
        with during(of=self._task, call="metrics"):
            self._metrics.update(*self._task.output.for_metrics(predictions, targets))

    def values(self) -> dict[str, float]:
        with during(of=self._task, call="metrics"):
            values = self._metrics.compute()
        if sampled := self._task.sampled_evaluation:
            for name in filter(self._metrics.is_accuracy, values):
                values[name] *= sampled.accuracy_factor
        return {"loss": float(self._loss_sum / self._examples), **values}


class _MeanOfBatches:
    """Loss and metrics as the mean over batches, each of the same weight, whatever its size."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self._task, self._device = task, device
        self._batches: list[dict[str, float]] = []

    def add(self, found: _Found) -> None:
        account = _Account(self._task, self._device)
        account.add(found)
        self._batches.append(account.values())

    def values(self) -> dict[str, float]:
        return {name: fmean(batch[name] for batch in self._batches) for name in self._batches[0]}


def _account_of(task: Task, device: torch.device) -> _Account | _MeanOfBatches:
    sampled = task.sampled_evaluation
    return _MeanOfBatches(task, device) if sampled and sampled.incomplete else _Account(task, device)


@torch.no_grad()
def evaluate(
    model: CrossModalModel,
    task: Task,
    batches: Iterable[Batch | None],
    team: Team | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
    assessor: SplitAssessor | None = None,
) -> dict[str, float]:
    """Evaluate batches.

    Args:
        model: put into evaluation mode and back.
        task: gives loss and metrics.
        batches: on the CPU, see `fptkit.engine.batches.evaluation_batches`. For a GPU, a thread makes them ahead. Each
            process of a team has its own; None if this process has none left. Predictions are gathered in the order of
            the batches, so the metrics are those of a single process bit for bit, whatever metrics the task uses.
        team: the processes that share the batches; None: this process alone.
        stop_requested: asked between batches.
        assessor: looks at the answers, too; changes nothing.

    Returns:
        The task's metrics and ``loss``: over all examples, or the mean over batches if the task's protocol says so
        (``SampledEvaluation.incomplete``).

    Raises:
        EvaluationStopped: ``stop_requested`` returned true.
        ShapeError: the split or one of its batches does not match what the task declares.
        TrainingError: out of memory with a single example.
    """
    team, device = team or Team(), next(model.parameters()).device
    was_training = model.training
    model.eval()
    account = _account_of(task, device)
    coming = for_device(batches, device)
    assess: Callable[[], object] = lambda: None  # noqa: E731
    try:
        for on_cpu in coming:
            if any(team.processes.any_of(stop_requested())):
                raise EvaluationStopped
            if on_cpu is None and team.idle is not None:
                team.idle.forward()
            own = None if on_cpu is None else _predict(model, task, batch_for(model, on_cpu, device), team.pieces)
            gathered = [found for found in team.processes.gather_on_main(_portable(own, team)) if found is not None]
            for found in gathered:
                account.add(found)
            if assessor is not None:
                answers = _Answers(on_cpu, own, gathered)
                assess()  # the answers to the batch before, while a GPU computes this one
                assess = partial(answers.show, assessor)
        assess()
        return team.processes.from_main(account.values)
    finally:
        coming.close()
        model.train(was_training)


def _predict(model: CrossModalModel, task: Task, batch: Batch, pieces: Pieces) -> _Found:
    predictions = pieces.through(lambda piece: model(piece.inputs, piece.lengths), batch)
    loss_sum = task.loss(predictions, batch).double() * len(batch)
    return _Found(loss_sum, len(batch), predictions, batch.targets)


class _Answers:
    """The answers to a batch, on their way to the host; an assessor looks at them there.

    Args:
        batch: of this process, on the CPU; None: it has none.
        own: what its model makes of it.
        gathered: what is found in all processes; empty except in rank 0.
    """

    def __init__(self, batch: Batch | None, own: _Found | None, gathered: Sequence[_Found]) -> None:
        self._batch = batch
        self._own = None if own is None else to_host(own.predictions)
        self._gathered = [
            (self._own if found is own and self._own else to_host(found.predictions), to_host(found.targets))
            for found in gathered
        ]

    def show(self, assessor: SplitAssessor) -> None:
        """Let an assessor look at them, after they have arrived."""
        if self._batch is not None and self._own is not None:
            assessor.see(self._batch, self._own())
        for predictions, targets in self._gathered:
            assessor.add(predictions(), targets())


def _portable(found: _Found | None, team: Team) -> _Found | None:
    """The same on the CPU, since another process may have to read it."""
    if found is None or team.processes.count == 1:
        return found
    return _Found(found.loss_sum.cpu(), found.examples, found.predictions.cpu(), found.targets.cpu())
