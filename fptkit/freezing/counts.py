"""How many numbers a model has, how many train, and how many of those a gradient reaches."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fptkit.interfaces import Batch, Task
from fptkit.model import CrossModalModel


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers in parameters.

    Args:
        total: all of the model's.
        trained: marked as trained.
        reached: those that got a gradient other than zero from the first training batch; rows of symbols that do not
            occur in it and positions beyond its longest example do not count.
    """

    total: int
    trained: int
    reached: int


def count_parameters(model: CrossModalModel, task: Task, batch: Batch) -> ParameterCounts:
    """Count parameters; ``batch`` gives the gradient for ``reached``."""
    return ParameterCounts(
        total=sum(parameter.numel() for parameter in model.parameters()),
        trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        reached=count_reached(model, task, batch),
    )


def count_reached(model: CrossModalModel, task: Task, batch: Batch) -> int:
    """Trained numbers whose gradient from one batch is not zero. Leaves no gradient and no mode behind."""
    was_training = model.training
    model.eval()  # dropout would hide numbers by chance
    task.loss(model(batch.inputs, batch.lengths), batch).backward()
    reached = 0
    for parameter in model.parameters():
        if parameter.grad is not None:
            reached += int(torch.count_nonzero(parameter.grad))
            parameter.grad = None
    model.train(was_training)
    return reached


def count_as_paper(model: CrossModalModel) -> int:
    """Trained parameters counted the way Lu et al. 2021 do.

    Their 106,752 for GPT-2 base, 64 tokens of 16 and 10 classes is 13,056 input (weight and bias) + 7,680 output
    (weight without its 10 biases) + 36,864 layer norm (two per block, without the final norm's 1,536) + 49,152
    positions.

    Source: Lu et al. 2021, section 2.2 and appendix.
    """
    roles = model.parameter_roles()
    count = 0
    for name, parameter in model.named_parameters():
        role = roles[name]
        output_bias = role.role == "output" and parameter.ndim == 1
        final_norm = role.role == "norm" and role.block is None
        if parameter.requires_grad and not output_bias and not final_norm:
            count += parameter.numel()
    return count
