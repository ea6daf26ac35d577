"""A split of examples that differ in length, held in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces import AnswerKind, Batch, Grid, InputKind, Mixed, Symbols


class ListSplit:
    """A split of examples that may differ in length, held in memory. Batches are padded as the kinds say.

    Args:
        input: kind of the inputs.
        output: kind of the answers; it makes the targets of a batch, see `fptkit.AnswerKind.collate`.
        inputs: one entry for each example: (T,) symbols, (T, F) vectors, or (H, W, C) of a grid, as a tensor, array or
            list; for `fptkit.Mixed` a mapping from the names of the parts to such entries.
        targets: one for each example, without the dimension of the batch; for answers at each token (T, ...).

    Raises:
        ShapeError: there are not as many targets as inputs, or an example has no tokens.

    Example:
        >>> import fptkit, torch
        >>> split = fptkit.ListSplit(fptkit.Symbols(9), fptkit.TokenClasses(2), [[1, 2, 3], [4]], [[0, 1, 0], [1]])
        >>> batch = split.batch([0, 1], torch.Generator())
        >>> batch.inputs.tolist(), batch.targets.tolist(), batch.lengths.tolist()
        ([[1, 2, 3], [4, 0, 0]], [[0, 1, 0], [1, -100, -100]], [3, 1])
    """

    size: int | None
    token_counts: NDArray[np.int64] | None

    def __init__(self, input: InputKind, output: AnswerKind, inputs: Sequence[Any], targets: Sequence[Any]) -> None:
        if len(inputs) != len(targets):
            raise ShapeError(f"ListSplit: {len(inputs):,} inputs, but {len(targets):,} targets; give one for each")
        self._input, self._output = input, output
        parts = input.parts if isinstance(input, Mixed) else {"": input}
        self._parts: Mapping[str, InputKind] = parts
        self._examples = [
            {name: _tensor(kind, each[name] if isinstance(input, Mixed) else each) for name, kind in parts.items()}
            for each in inputs
        ]
        self._targets = [torch.as_tensor(target, dtype=output.dtype) for target in targets]
        self.size = len(self._examples)
        self._varying = _varying(input)
        # Row by row the lengths of the parts, in the form of a batch.
        self._lengths = torch.tensor(
            [[parts[name].tokens_in(one[name][None]) for name in self._varying] for one in self._examples]
        )
        if self._lengths.numel() and int(self._lengths.min()) < 1:
            row = int((self._lengths < 1).any(1).nonzero()[0])
            raise ShapeError(f"ListSplit: example {row} has no tokens; leave it out")
        equal = not self._lengths.numel() or bool((self._lengths == self._lengths[0]).all())
        self.token_counts = None if equal else self._lengths.sum(1).numpy()

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the examples with these indices, padded to the longest of them. See `fptkit.Split.batch`.

        Args:
            indices: indices of the examples, at least one.
            generator: not used; stored examples involve no randomness.
        """
        chosen = [self._examples[index] for index in indices]
        found = {name: _padded(kind, [one[name] for one in chosen]) for name, kind in self._parts.items()}
        targets = self._output.collate([self._targets[index] for index in indices])
        lengths = self._lengths[list(indices)]
        whole = not self._varying or bool((lengths == lengths.amax(0)).all())
        if not isinstance(self._input, Mixed) or not self._input.columns:
            lengths = lengths[:, 0] if self._varying else lengths
        inputs: Any = found if isinstance(self._input, Mixed) else found[""]
        return Batch(inputs, targets, None if whole else lengths)


def _varying(kind: InputKind) -> tuple[str, ...]:
    """The parts that the lengths of a batch belong to, in the order of their columns."""
    if not kind.varies:
        return ()
    return (kind.columns or (kind.last,)) if isinstance(kind, Mixed) else ("",)


def _tensor(kind: InputKind, given: Any) -> Tensor:
    return torch.as_tensor(given, dtype=torch.int64 if isinstance(kind, Symbols) else torch.float32)


def _padded(kind: InputKind, tensors: Sequence[Tensor]) -> Tensor:
    if isinstance(kind, Grid):
        return torch.stack(list(tensors))
    pad = kind.pad if isinstance(kind, Symbols) else 0
    return nn.utils.rnn.pad_sequence(list(tensors), batch_first=True, padding_value=pad)
