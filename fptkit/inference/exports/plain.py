"""The model as it is exported: in float32, on the CPU, without fptkit's kernels, every argument a tensor."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from fptkit.inference.exports.form import Form
from fptkit.model import CrossModalModel
from fptkit.numerics.eight_bit import EightBitLinear


class Program(nn.Module):
    """A model that takes the tensors of a `Form` one after the other.

    Args:
        model: the model.
        form: its inputs.
    """

    def __init__(self, model: CrossModalModel, form: Form) -> None:
        super().__init__()
        self.model, self.form = model, form

    def forward(self, *tensors: Tensor) -> Tensor:
        """Shapes: as `Form.shapes` -> logits or numbers, as the model gives them."""
        inputs, lengths = self.form.inputs(tensors)
        logits: Tensor = self.model(inputs, lengths)
        return logits


def plain_model(model: CrossModalModel) -> CrossModalModel:
    """A copy of the model in float32 on the CPU, in evaluation mode and without gradients.

    Weights that were stored in bfloat16 or in 8 bits keep their stored values; only the arithmetic is more precise.
    """
    plain = copy.deepcopy(model).cpu()
    for module in list(plain.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, EightBitLinear):
                setattr(module, name, child.dequantised())
    plain.mixed = False
    return plain.float().eval().requires_grad_(False)
