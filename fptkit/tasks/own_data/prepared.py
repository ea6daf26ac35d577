"""A split of prepared examples in memory, without their padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import IGNORED, Batch, Examples, Preparation, Symbols, TokenClasses

_CHUNK = 256
"""Examples that are prepared at once: bounds the memory that their padding takes."""


class PreparedSplit:
    """A `fptkit.interfaces.Split` of examples that are prepared once. For preparations with one input tensor.

    Examples of unequal length are concatenated, so that a long one costs no padding for all others.

    Args:
        preparation: prepares the examples.
        examples: the examples, labelled.

    Attributes:
        targets: (N, ...) their targets; for `TokenClasses` those of all tokens of all examples, (M,).

    Raises:
        DataError: there are no examples.
        FptkitError: an example cannot be prepared.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None

    def __init__(self, preparation: Preparation, examples: Examples) -> None:
        if not len(examples):
            raise DataError("a split has no examples; change the option split, or add data")
        kind = preparation.input
        self._symbols = isinstance(kind, Symbols)
        self._pad = kind.pad if isinstance(kind, Symbols) else 0
        chunks = [
            preparation.prepare(examples.take(range(start, min(start + _CHUNK, len(examples)))))
            for start in range(0, len(examples), _CHUNK)
        ]
        self.size = len(examples)
        self._each_token = isinstance(preparation.output, TokenClasses)
        self.targets = torch.cat([_targets(chunk) if self._each_token else chunk.targets for chunk in chunks])
        lengths = torch.cat([_lengths(chunk) for chunk in chunks])
        equal = bool((lengths == lengths[0]).all())
        self.token_counts = None if equal else lengths.numpy()
        # Padding points to the last row.
        rows = [chunk.inputs.flatten(0, 1)[_real(chunk).flatten()] for chunk in chunks]
        self._rows = torch.cat([*rows, torch.full_like(rows[0][:1], self._pad)])
        if self._symbols:
            self._rows = _small(self._rows)
        self._shape = chunks[0].inputs.shape[2:]
        self._lengths = lengths
        self._starts = torch.cumsum(lengths, 0) - lengths

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the examples with these indices, padded on the right to the longest of them.

        Args:
            indices: indices of the examples, at least one.
            generator: not used; prepared examples involve no randomness.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        lengths = self._lengths[chosen]
        steps = torch.arange(int(lengths.max()))
        real = steps < lengths[:, None]  # (B, T)
        places = torch.where(real, self._starts[chosen, None] + steps, len(self._rows) - 1)
        inputs = self._rows[places]
        inputs = inputs.long() if self._symbols else inputs
        if self._each_token:
            # Padding points after the last target; any target does, since it is replaced.
            targets = self.targets[places.clamp(max=len(self.targets) - 1)].masked_fill(~real, IGNORED)
        else:
            targets = self.targets[chosen]
        return Batch(inputs, targets, None if bool(real.all()) else lengths)


def _lengths(batch: Batch) -> Tensor:
    if batch.lengths is not None:
        return batch.lengths
    return torch.full((len(batch),), batch.inputs.shape[1], dtype=torch.int64)


def _targets(batch: Batch) -> Tensor:
    """(M,) targets of all real tokens."""
    return batch.targets.flatten()[_real(batch).flatten()]


def _real(batch: Batch) -> Tensor:
    """(B, T) bool, true at real tokens."""
    return torch.arange(batch.inputs.shape[1]) < _lengths(batch)[:, None]


def _small(symbols: Tensor) -> Tensor:
    """Symbols in the smallest type that holds them: an eighth of the memory for small alphabets."""
    highest = int(symbols.max())
    dtype = torch.uint8 if highest < 2**8 else torch.int16 if highest < 2**15 else torch.int32
    return symbols.to(dtype)
