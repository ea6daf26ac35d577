"""Predicted numbers in the unit of the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fptkit.interfaces import Task, Values

_CLOSE = 1e-5
"""Relative difference up to which the preparation counts as a scaling of each number."""


@dataclass(frozen=True)
class Unit:
    """The scale of predicted numbers: ``value * factor + offset`` is in the unit of the data.

    Args:
        offset: (width,) float64.
        factor: (width,) float64.
    """

    offset: Tensor
    factor: Tensor

    def of(self, numbers: Tensor) -> Tensor:
        """Numbers in the unit of the data, float64 on the CPU. Shapes: (B, width) -> (B, width)."""
        return numbers.detach().to("cpu", torch.float64) * self.factor + self.offset


def unit_of(task: Task) -> Unit | None:
    """How predictions of a task become numbers in the unit of its data; None if they are not, or by no scaling.

    Args:
        task: may have a preparation, whose ``answers`` gives the unit.
    """
    output, preparation = task.output, task.preparation
    if preparation is None or preparation.scale_varies or not isinstance(output, Values) or output.tokens != 1:
        return None
    probes = torch.tensor([0.0, 1.0, -3.0])[:, None].repeat(1, output.width)
    rows = [list(answer.values()) for answer in preparation.answers(probes)]
    if any(len(row) != output.width or not all(isinstance(one, float) for one in row) for row in rows):
        return None
    zero, one, other = torch.tensor(rows, dtype=torch.float64)
    expected = zero - 3 * (one - zero)
    if not torch.allclose(other, expected, rtol=_CLOSE, atol=_CLOSE * float(expected.abs().max())):
        return None
    return Unit(zero, one - zero)
