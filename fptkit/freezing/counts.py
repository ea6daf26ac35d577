"""Counts of a model: parameters, trained parameters, those that get a gradient, and FLOPs of a training step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from fptkit.interfaces import Batch, Task, check_loss, check_metrics
from fptkit.model import CrossModalModel
from fptkit.numerics.flops import FlopCounter
from fptkit.specs.freezing import ROLES, Role
from fptkit.specs.guard import during


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters (elements, not tensors), and FLOPs.

    Args:
        total: all parameters of the model.
        trained: parameters that train.
        reached: trained parameters with a nonzero gradient on the first training batch; rows of symbols that do not
            occur in it and positions after its longest example do not count.
        flops: FLOPs of a forward and backward pass of that batch, see `GradientPass`.
    """

    total: int
    trained: int
    reached: int
    flops: int


@dataclass(frozen=True)
class PartCount:
    """The parameters of one role, in blocks that have the same numbers, or outside the blocks.

    Args:
        role: the role.
        first: index of the first of these blocks; None outside the blocks.
        last: index of the last of them.
        total: number of parameters, in each of the blocks.
        trained: how many of them train, in each of the blocks.
    """

    role: Role
    first: int | None
    last: int | None
    total: int
    trained: int


@dataclass(frozen=True)
class GradientPass:
    """Measurements of one forward and backward pass.

    Args:
        reached: number of trained parameters with a nonzero gradient.
        flops: FLOPs of the matrix products, convolutions and attention that were computed, two per multiply-add.
            Elementwise operations and the optimizer are not counted; operations that no gradient needs, or that the
            last block skips for tokens that are not read out, are not computed.
    """

    reached: int
    flops: int


def count_parameters(model: CrossModalModel, task: Task, batch: Batch) -> ParameterCounts:
    """Count the parameters of a model.

    Args:
        model: the model, with its policy applied.
        task: gives the loss.
        batch: the batch for ``reached`` and ``flops``.
    """
    seen = gradient_pass(model, task, batch)
    return ParameterCounts(
        total=sum(parameter.numel() for parameter in model.parameters()),
        trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        reached=seen.reached,
        flops=seen.flops,
    )


def count_parts(model: CrossModalModel) -> list[PartCount]:
    """Count the parameters of a model by role and block: those outside the blocks first, then by role.

    Args:
        model: the model, with its policy applied.
    """
    counts: dict[tuple[Role, int | None], tuple[int, int]] = {}
    roles = model.parameter_roles()
    for name, parameter in model.named_parameters():
        key = (roles[name].role, roles[name].block)
        total, trained = counts.get(key, (0, 0))
        counts[key] = total + parameter.numel(), trained + parameter.requires_grad * parameter.numel()
    order = sorted(counts, key=lambda key: (key[1] is not None, ROLES.index(key[0]), key[1] or 0))
    parts: list[PartCount] = []
    for role, block in order:
        own, before = counts[role, block], parts[-1] if parts else None
        follows = before is not None and block is not None and (before.role, before.last) == (role, block - 1)
        if follows and before is not None and (before.total, before.trained) == own:
            parts[-1] = replace(before, last=block)
        else:
            parts.append(PartCount(role, block, block, *own))
    return parts


def gradient_pass(model: CrossModalModel, task: Task, batch: Batch) -> GradientPass:
    """Measure one forward and backward pass; leaves no gradients and restores the training mode.

    The model is in evaluation mode, since dropout would set random gradients to zero. Dropout has no matrix products,
    so the FLOPs are those of a training step; as in training, the backbone knows which tokens are read out.

    Args:
        model: the model, with its policy applied.
        task: gives the loss.
        batch: the batch to run.
    """
    was_training = model.training
    model.eval()
    uncounted: list[int] = []

    def ask(backbone: Any, given: tuple[Any, ...]) -> None:
        uncounted.append(backbone.uncounted_flops(given[0]))

    hook = model.backbone.register_forward_pre_hook(ask)
    try:
        with FlopCounter() as counter:
            logits = model(batch.inputs, batch.lengths)
            with during(of=task, call="loss"):
                check_loss(task, task.loss(logits, batch), logits).backward()
        check_metrics(task, logits.detach(), batch.targets)
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        reached = sum(int(torch.count_nonzero(gradient)) for gradient in gradients)
    finally:
        hook.remove()
        model.zero_grad(set_to_none=True)
        model.train(was_training)
    return GradientPass(reached, counter.total + sum(uncounted))


def count_as_paper(model: CrossModalModel) -> int:
    """Count the trained parameters as Lu et al. 2021 do.

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
