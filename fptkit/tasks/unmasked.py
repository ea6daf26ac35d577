"""Padding read as if it were data: fault D9 of the protocol ``fpt2021``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fptkit.interfaces import Batch
from fptkit.tasks.examples import SymbolExamples


class UnmaskedExamples:
    """A `fptkit.interfaces.Split` without lengths: its batches do not mark padding.

    The padding symbol is a token like any other, and the read-out is at the last position, even if that is padding.
    The answer for an example therefore depends on the longest example of its batch.

    Args:
        examples: the sequences.
        tokens: T to which every batch is padded, at least the longest sequence; None: the longest of each batch.
        pad: id of the padding symbol.
    """

    size: int | None
    token_counts: np.ndarray | None

    def __init__(self, examples: SymbolExamples, *, tokens: int | None = None, pad: int = 0) -> None:
        self.size = examples.size
        # If all lengths are equal, grouping by length is useless.
        self.token_counts = examples.token_counts if tokens is None else None
        self._examples, self._tokens, self._pad = examples, tokens, pad

    def symbols(self, index: int) -> np.ndarray:
        """Return the symbols of one example, without padding. Shapes: (T,)."""
        return self._examples.symbols(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `fptkit.Split.batch`. Shapes: inputs (B, T) int64, targets (B,) int64, no lengths."""
        batch = self._examples.batch(indices, generator)
        inputs = batch.inputs
        if self._tokens is not None:
            inputs = torch.nn.functional.pad(inputs, (0, self._tokens - inputs.shape[1]), value=self._pad)
        return Batch(inputs, batch.targets)
