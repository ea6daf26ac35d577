"""Examples of a task, padded on the right to one length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

Inputs: TypeAlias = Any
"""What an encoder reads: one tensor, or for `Mixed` a mapping from the name of a part to its tensor. Which of them, the
task's input kind says and not the type, hence ``Any``."""


@dataclass(frozen=True)
class Batch:
    """Examples of one task, padded on the right to a common number of tokens.

    Args:
        inputs: (B, T, F) float32 for `Vectors`, (B, T) int64 for `Symbols`, (B, H, W, C) float32 for `Grid`; for
            `Mixed` a mapping from the name of a part to such a tensor, in the order of the parts.
        targets: what the loss compares with; for class outputs int64 of (B,), (B, R) or (B, R, per_token).
        lengths: (B,) int64 number of real tokens of each example, or None when all T are real. A grid has none; for
            `Mixed` they are those of the last part.
    """

    inputs: Inputs
    targets: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def mask(self) -> Tensor | None:
        """(B, T) bool, true at real tokens, for `Mixed` those of the last part; None when every token is real."""
        if self.lengths is None:
            return None
        padded = list(self.tensors().values())[-1]
        return torch.arange(padded.shape[1], device=padded.device) < self.lengths[:, None]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the inputs by part; of inputs that are one tensor, under ``inputs``."""
        return dict(self.inputs) if isinstance(self.inputs, Mapping) else {"inputs": self.inputs}

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``; nothing waits for the copy of a pinned one."""
        return self._with_each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in memory from which a GPU fetches it by itself."""
        return self._with_each(lambda tensor: tensor.pin_memory())

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        if isinstance(self.inputs, Mapping):
            inputs: Inputs = {name: change(part) for name, part in self.inputs.items()}
        else:
            inputs = change(self.inputs)
        lengths = None if self.lengths is None else change(self.lengths)
        return replace(self, inputs=inputs, targets=change(self.targets), lengths=lengths)
