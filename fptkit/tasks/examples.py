"""Stored sequences of symbols with one label each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit.interfaces import Batch


class SymbolExamples:
    """A `fptkit.interfaces.Split` of symbol sequences, concatenated in one array so that batches need no Python loop.

    Args:
        symbols: (S,) integer ids of all sequences, one after the other.
        offsets: (N + 1,) start of each sequence in ``symbols``, then the end of the last.
        targets: (N,) class of each sequence.
        pad: id of the padding symbol.
        max_length: tokens after which longer sequences are cut; None: no limit.

    Raises:
        ValueError: the arrays do not fit together, or a sequence is empty.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None

    def __init__(
        self,
        symbols: NDArray[np.integer],
        offsets: NDArray[np.int64],
        targets: NDArray[np.int64],
        *,
        pad: int = 0,
        max_length: int | None = None,
    ) -> None:
        if len(offsets) != len(targets) + 1 or offsets[0] != 0 or offsets[-1] != len(symbols):
            raise ValueError(
                f"{len(offsets)} offsets up to {offsets[-1]}, {len(targets)} targets, {len(symbols)} symbols"
            )
        counts = np.diff(offsets)
        if (counts < 1).any():
            raise ValueError(f"sequence {int(np.argmin(counts))} is empty")
        if max_length is not None:
            counts = np.minimum(counts, max_length)
        self.size = len(targets)
        self.token_counts = counts
        self.targets = targets
        self._symbols = symbols
        self._starts = offsets[:-1]
        self._counts = counts
        self._pad = pad

    def symbols(self, index: int) -> NDArray[np.integer]:
        """Return the symbols of one example. Shapes: (T,)."""
        start = self._starts[index]
        return self._symbols[start : start + self._counts[index]]

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the examples with these indices, padded on the right to the longest of them.

        Shapes: inputs (B, T) int64, targets (B,) int64, lengths (B,) int64, or None if all have T tokens.

        Args:
            indices: indices of the examples, at least one.
            generator: not used; stored examples involve no randomness.
        """
        chosen = np.asarray(indices, np.int64)
        counts = self._counts[chosen]
        longest = int(counts.max())
        real = np.arange(longest) < counts[:, None]  # (B, T)
        places = np.where(real, self._starts[chosen, None] + np.arange(longest), 0)
        tokens = np.where(real, self._symbols[places], self._pad).astype(np.int64)
        return Batch(
            torch.from_numpy(tokens),
            torch.from_numpy(self.targets[chosen]),
            None if real.all() else torch.from_numpy(counts),
        )
