"""Assesses the answers to one split while it is evaluated, so that it need not be evaluated again."""

from __future__ import annotations

import torch
from torch import Tensor

from fptkit.engine.assessment.accumulate import Assessment
from fptkit.engine.assessment.intervals import of_mean
from fptkit.engine.assessment.records import SplitAssessed
from fptkit.engine.assessment.units import unit_of
from fptkit.engine.assessment.worst import WorstExamples, mistake, worst_of
from fptkit.engine.team.processes import Processes
from fptkit.interfaces import AnswerKind, Batch, Task


class SplitAssessor:
    """Assesses the answers to a split.

    Args:
        task: the task.
        name: of the split.
        size: number of its examples; None for an endless split.
    """

    def __init__(self, task: Task, name: str, size: int | None) -> None:
        self._task, self._name, self._size = task, name, size
        self._unit = unit_of(task)
        self._answers = Assessment(task.output)
        self._worst = WorstExamples(task)
        self._evaluated = 0
        self._losses = torch.zeros(3, dtype=torch.float64)  # finite ones, their mean, sum of squared distances from it

    def see(self, batch: Batch, predictions: Tensor) -> None:
        """Look at a batch of this process.

        Args:
            batch: on the CPU.
            predictions: of the model.
        """
        predictions = predictions.detach().cpu()
        self._worst.add(batch, predictions, example_losses(self._task.output, predictions, batch.targets))

    def add(self, predictions: Tensor, targets: Tensor) -> None:
        """Account for a batch of any process; rank 0 alone does."""
        losses = example_losses(self._task.output, predictions, targets)
        self._evaluated += len(targets)
        self._add_losses(losses[losses.isfinite()])
        if self._unit is not None:
            predictions, targets = self._unit.of(predictions), self._unit.of(targets)
        self._answers.update(predictions, targets)

    def _add_losses(self, losses: Tensor) -> None:
        if not len(losses):
            return
        count, mean, spread = self._losses.tolist()
        own, total = float(losses.mean()), count + len(losses)
        spread += float((losses - own).square().sum()) + (own - mean) ** 2 * count * len(losses) / total
        self._losses = torch.tensor([total, mean + (own - mean) * len(losses) / total, spread], dtype=torch.float64)

    def result(self, processes: Processes) -> SplitAssessed | None:
        """What was found; None except in rank 0.

        Args:
            processes: those that share the split; all of them call this.
        """
        gathered = processes.gather_on_main(self._worst.kept)
        if not processes.main:
            return None
        count, mean, spread = self._losses.tolist()
        worst = worst_of(one for some in gathered for one in some)
        return SplitAssessed(
            size=self._size,
            evaluated=self._evaluated,
            loss=mean if count else float("nan"),
            loss_interval=of_mean(mean, spread, int(count)),
            unit=self._unit is not None,
            answers=self._answers.result(),
            worst=tuple(mistake(self._task, self._name, one, self._unit) for one in worst),
        )


def example_losses(output: AnswerKind, predictions: Tensor, targets: Tensor) -> Tensor:
    """The loss of each example, that of the kind of answers; NaN for an example without any label.

    Shapes: -> (B,) float64, on the CPU.
    """
    predictions, targets = predictions.detach().to("cpu", torch.float64), targets.detach().cpu()
    return output.example_losses(predictions, targets)
