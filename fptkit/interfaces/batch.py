"""Batches: examples of a task, padded on the right to one length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fptkit.errors import ShapeError

Inputs: TypeAlias = Any
"""Inputs of an encoder: one tensor, or for `Mixed` a mapping from part names to tensors. ``Any``, since the task's
input kind decides which, not the type."""


@dataclass(frozen=True)
class Batch:
    """Examples of one task, padded on the right to a common number of tokens.

    Args:
        inputs: (B, T, F) float32 for `Vectors`, (B, T) int64 for `Symbols`, (B, H, W, C) float32 for `Grid`; for
            `Mixed` a mapping from part names to such tensors, in the order of the parts.
        targets: targets of the loss, as the kind of answers says; for `Classes` int64 of shape (B,), (B, R) or
            (B, R, per_token), for `Values` float32 of shape (B, width) or (B, R, width), for `TokenClasses` int64 of
            shape (B, T).
        lengths: (B,) int64 number of real tokens of each example, for `Mixed` those of the last part, or (B, P) if
            other parts, or several, may vary, see ``Mixed.columns``; None if all are real, and always for `Grid`.
        rows: indices of the examples in their split; set by fptkit in evaluation, None elsewhere.

    Example:
        >>> import fptkit, torch
        >>> batch = fptkit.Batch(torch.zeros(2, 3, 4), torch.tensor([0, 1]), lengths=torch.tensor([3, 1]))
        >>> len(batch), batch.mask.tolist()
        (2, [[True, True, True], [True, False, False]])
    """

    inputs: Inputs
    targets: Tensor
    lengths: Tensor | None = None
    rows: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def mask(self) -> Tensor | None:
        """(B, T) bool, true at real tokens, for `Mixed` those of the last part; None if all tokens are real.

        Raises:
            ShapeError: several parts vary in length, each of which has a mask of its own.
        """
        if self.lengths is None:
            return None
        if self.lengths.ndim > 1:
            raise ShapeError("several parts vary in length; make the mask of one from Mixed.length_of(name, lengths)")
        padded = list(self.tensors().values())[-1]
        return torch.arange(padded.shape[1], device=padded.device) < self.lengths[:, None]

    def tensors(self) -> dict[str, Tensor]:
        """Return the input tensors by part name; a single tensor has the name ``inputs``."""
        return dict(self.inputs) if isinstance(self.inputs, Mapping) else {"inputs": self.inputs}

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device``; a pinned batch is copied asynchronously.

        On an accelerator, ``lengths`` is None if no token is padding. Only the host can find that out without waiting
        for the device, and then no model needs a mask.
        """
        there = self if torch.device(device).type == "cpu" else self.without_idle_lengths()
        return there._with_each(lambda tensor: tensor.to(device, non_blocking=True))

    def without_idle_lengths(self) -> Batch:
        """Return the batch with ``lengths`` None if no token is padding; a batch on an accelerator is unchanged."""
        lengths = self.lengths
        if lengths is None or lengths.ndim > 1 or lengths.device.type != "cpu":
            return self
        tokens = list(self.tensors().values())[-1].shape[1]
        return self if bool((lengths < tokens).any()) else replace(self, lengths=None)

    def pinned(self) -> Batch:
        """Return the batch in pinned memory, for asynchronous copies to a GPU."""
        return self._with_each(lambda tensor: tensor.pin_memory())

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        if isinstance(self.inputs, Mapping):
            inputs: Inputs = {name: change(part) for name, part in self.inputs.items()}
        else:
            inputs = change(self.inputs)
        lengths = None if self.lengths is None else change(self.lengths)
        return replace(self, inputs=inputs, targets=change(self.targets), lengths=lengths)
