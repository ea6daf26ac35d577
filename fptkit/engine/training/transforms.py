"""fptkit's own transforms by name, and a training split whose examples are changed by transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from fptkit.engine.training.options import (
    CutoutOptions,
    FlipOptions,
    MaskOptions,
    NoiseOptions,
    ReplaceOptions,
    ScaleOptions,
    ShiftOptions,
)
from fptkit.errors import PluginError, UsageError
from fptkit.interfaces import Batch, Grid, InputKind, Split, Symbols
from fptkit.specs import TransformSpec
from fptkit.specs.guard import during

Change = Callable[[Batch, torch.Generator], Batch]
"""Changes the examples of a batch, at random by the generator."""


@dataclass(frozen=True)
class NamedTransform:
    """A transform of a run.

    Args:
        spec: its record.
        change: changes a batch.
    """

    spec: TransformSpec
    change: Change

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Change a batch.

        Raises:
            PluginError: it returns something else.
        """
        with during(of=self.spec):
            changed = self.change(batch, generator)
            if not isinstance(changed, Batch):
                raise PluginError(f"{self.spec}: it returned {changed!r:.80}, expected a fptkit.Batch")
        return changed


class TransformedSplit:
    """A training split whose examples are changed by transforms, drawn from the generator of each batch.

    Args:
        whole: the split.
        transforms: applied one after the other.
    """

    def __init__(self, whole: Split, transforms: Sequence[NamedTransform]) -> None:
        self.whole, self._transforms = whole, tuple(transforms)
        self.size, self.token_counts = whole.size, whole.token_counts

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `fptkit.Split.batch`."""
        batch = self.whole.batch(indices, generator)
        for transform in self._transforms:
            batch = transform(batch, generator)
        return batch


def transformed(split: Split, transforms: Sequence[NamedTransform]) -> Split:
    """The split with transforms; the split itself if there are none."""
    return TransformedSplit(split, transforms) if transforms else split


def flip(options: FlipOptions, *, input: InputKind) -> Change:
    """Flip grids."""
    axis = 2 if options.direction == "left_right" else 1

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        inputs = _tensor(batch)
        chosen = torch.rand(len(batch), generator=generator) < options.probability
        return replace(batch, inputs=torch.where(chosen[:, None, None, None], inputs.flip(axis), inputs))

    return change


def shift(options: ShiftOptions, *, input: InputKind) -> Change:
    """Shift grids by up to ``most`` cells in both directions; zeros fill the edge.

    Raises:
        UsageError: a grid could be shifted out of sight.
    """
    most, (rows, columns) = options.most, cast(Grid, input).size
    if most >= min(rows, columns):
        raise UsageError(f"transform shift: most is {most}, but the grids are {rows} x {columns}; use a smaller number")

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        padded = torch.nn.functional.pad(_tensor(batch), (0, 0, most, most, most, most))
        first = torch.randint(0, 2 * most + 1, (2, len(batch), 1), generator=generator)
        down, right = first[0] + torch.arange(rows), first[1] + torch.arange(columns)  # (B, H), (B, W)
        examples = torch.arange(len(batch))[:, None, None]
        return replace(batch, inputs=padded[examples, down[:, :, None], right[:, None, :]])

    return change


def cutout(options: CutoutOptions, *, input: InputKind) -> Change:
    """Set a square of each grid to zero; it may reach over the edge."""
    rows, columns = cast(Grid, input).size

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        inside = []
        for count in (rows, columns):
            start = torch.randint(0, count, (len(batch), 1), generator=generator) - options.side // 2
            cells = torch.arange(count)
            inside.append((cells >= start) & (cells < start + options.side))
        square = inside[0][:, :, None] & inside[1][:, None, :]
        return replace(batch, inputs=_tensor(batch).masked_fill(square[..., None], 0.0))

    return change


def noise(options: NoiseOptions, *, input: InputKind) -> Change:
    """Add Gaussian noise to real tokens."""

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        inputs = _tensor(batch)
        added = options.deviation * torch.randn(inputs.shape, generator=generator)
        return replace(batch, inputs=inputs + added.masked_fill(_padding(batch, inputs), 0.0))

    return change


def scale(options: ScaleOptions, *, input: InputKind) -> Change:
    """Multiply each example by a factor."""

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        inputs = _tensor(batch)
        shape = (len(batch), *[1] * (inputs.ndim - 1))
        return replace(batch, inputs=inputs * (1 + options.deviation * torch.randn(shape, generator=generator)))

    return change


def mask(options: MaskOptions, *, input: InputKind) -> Change:
    """Set spans of tokens to zero."""

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        inputs = _tensor(batch)
        starts = torch.rand(inputs.shape[:2], generator=generator) < options.probability
        masked = starts.clone()
        for offset in range(1, min(options.span, inputs.shape[1])):
            masked[:, offset:] |= starts[:, :-offset]
        return replace(batch, inputs=inputs.masked_fill(masked[:, :, None], 0.0))

    return change


def replace_symbols(options: ReplaceOptions, *, input: InputKind) -> Change:
    """Replace real symbols by random ones, but never by the padding symbol.

    Raises:
        UsageError: there is no other symbol.
    """
    kind = cast(Symbols, input)
    if kind.count < 2:
        raise UsageError(f"transform replace: the task has {kind.count} symbols, so there is none to replace one by")

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        inputs = _tensor(batch)
        chosen = torch.rand(inputs.shape, generator=generator) < options.probability
        drawn = torch.randint(0, kind.count - 1, inputs.shape, generator=generator)
        drawn += drawn >= kind.pad
        return replace(batch, inputs=torch.where(chosen & ~_padding(batch, inputs), drawn, inputs))

    return change


def _tensor(batch: Batch) -> Tensor:
    assert isinstance(batch.inputs, Tensor)  # transforms that accept mixed inputs are not here
    return batch.inputs


def _padding(batch: Batch, inputs: Tensor) -> Tensor:
    """Where a batch has padding, in a shape that fits its inputs."""
    if batch.lengths is None:
        return torch.zeros((), dtype=torch.bool)
    padding = torch.arange(inputs.shape[1]) >= batch.lengths[:, None]
    return padding.reshape(*padding.shape, *[1] * (inputs.ndim - 2))
