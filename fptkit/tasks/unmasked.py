"""Padding that is read as if it were data: fault D9 of the protocol ``fpt2021``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fptkit.interfaces import Batch
from fptkit.tasks.examples import SymbolExamples


class UnmaskedExamples:
    """A `fptkit.interfaces.Split` whose batches do not say which tokens are real.

    The padding symbol is a token like any other, and the read-out is at the last position, even where that is padding.
    An example's answer thus depends on the longest of its batch.

    Args:
        examples: the sequences.
        tokens: T to which every batch is padded, no shorter than any sequence; None takes each batch's longest.
        pad: id that is put there.
    """

    size: int | None
    token_counts: np.ndarray | None

    def __init__(self, examples: SymbolExamples, *, tokens: int | None = None, pad: int = 0) -> None:
        self.size = examples.size
        # With one length for all there is nothing to group by.
        self.token_counts = examples.token_counts if tokens is None else None
        self._examples, self._tokens, self._pad = examples, tokens, pad

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `fptkit.Split.batch`. Shapes: inputs (B, T) int64, targets (B,) int64, no lengths."""
        batch = self._examples.batch(indices, generator)
        inputs = batch.inputs
        if self._tokens is not None:
            inputs = torch.nn.functional.pad(inputs, (0, self._tokens - inputs.shape[1]), value=self._pad)
        return Batch(inputs, batch.targets)
