"""Changes to modules of transformers that would otherwise fail on token vectors, padding or bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class CutTable(nn.Embedding):
    """The position table of a model that counts positions by itself, such as LED: padding to its window has none."""

    def forward(self, shape: torch.Size, *_: Any) -> Tensor:  # type: ignore[override]
        """Return the rows of a batch, zeros for padding. Shapes: ``shape`` is (B, T) -> (T, D)."""
        rows = self.weight[: shape[1]]
        return functional.pad(rows, (0, 0, 0, shape[1] - len(rows)))


def repair(model: nn.Module) -> None:
    """Repair the attention of DeBERTa in bfloat16, in place.

    It adds biases in float32 to queries in bfloat16, and then masks scores in bfloat16 with the least number of
    float32, which does not exist in bfloat16.
    """
    for module in model.modules():
        if type(module).__name__ == "DisentangledSelfAttention" and hasattr(module, "q_bias"):
            _match_autocast(module)


def _match_autocast(attention: Any) -> None:
    unchanged = attention.transpose_for_scores

    def transposed(numbers: Tensor, *others: Any) -> Tensor:
        kind = numbers.device.type
        if torch.is_autocast_enabled(kind):
            numbers = numbers.to(torch.get_autocast_dtype(kind))
        result: Tensor = unchanged(numbers, *others)
        return result

    attention.transpose_for_scores = transposed
