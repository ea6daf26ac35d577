"""How many numbers a model has, how many train, how many of those a gradient reaches, and what a pass costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from fptkit.interfaces import Batch, Task
from fptkit.model import CrossModalModel
from fptkit.numerics.flops import FlopCounter


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers in parameters.

    Args:
        total: all of the model's.
        trained: marked as trained.
        reached: those that got a gradient other than zero from the first training batch; rows of symbols that do not
            occur in it and positions beyond its longest example do not count.
        flops: floating-point operations of that batch's forward and backward, see `GradientPass`.
    """

    total: int
    trained: int
    reached: int
    flops: int


@dataclass(frozen=True)
class GradientPass:
    """What one forward and backward shows.

    Args:
        reached: trained numbers whose gradient is not zero.
        flops: floating-point operations of matrix products, convolutions and attention, two for each multiply-add:
            those that are carried out. What no gradient needs is not among them, nor what the last block leaves out for
            tokens that are not read, nor element-wise operations and the optimiser.
    """

    reached: int
    flops: int


def count_parameters(model: CrossModalModel, task: Task, batch: Batch) -> ParameterCounts:
    """Count parameters; ``batch`` gives the gradient for ``reached`` and ``flops``."""
    seen = gradient_pass(model, task, batch)
    return ParameterCounts(
        total=sum(parameter.numel() for parameter in model.parameters()),
        trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        reached=seen.reached,
        flops=seen.flops,
    )


def gradient_pass(model: CrossModalModel, task: Task, batch: Batch) -> GradientPass:
    """One forward and backward, watched. Leaves no gradient and no mode behind.

    It is made in evaluation mode: dropout would hide numbers by chance. Dropout has no products, so the operations are
    those of a training step all the same; the tokens to be read are told to the backbone as in training.
    """
    was_training = model.training
    model.eval()
    uncounted: list[int] = []

    def ask(backbone: Any, given: tuple[Any, ...]) -> None:
        uncounted.append(backbone.uncounted_flops(given[0]))

    hook = model.backbone.register_forward_pre_hook(ask)
    try:
        with FlopCounter() as counter:
            task.loss(model(batch.inputs, batch.lengths), batch).backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        reached = sum(int(torch.count_nonzero(gradient)) for gradient in gradients)
    finally:
        hook.remove()
        model.zero_grad(set_to_none=True)
        model.train(was_training)
    return GradientPass(reached, counter.total + sum(uncounted))


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
