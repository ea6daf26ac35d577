"""The preparation of arrays: what they are, their shape, and scaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Examples, Grid, Metric, OutputKind, Preparation, Shown, Symbols, Vectors
from fptkit.tasks.arrays.files import Array, check_finite
from fptkit.tasks.arrays.names import Wanted, X, parted
from fptkit.tasks.arrays.options import ReadAs
from fptkit.tasks.arrays.reader import has_tags, read_unlabelled
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.reading.scaling import moments_in_parts
from fptkit.tasks.sequences.tags import Tags

FEW_FEATURES = 512
"""Numbers of an example above which ``auto`` reads them as a sequence, and not as features with a token each."""

MOST_SYMBOLS = 1 << 17
"""Size of an alphabet above which whole numbers are measured values and not symbols."""

EACH = 4
"""Sides of images are filled to a multiple of this: the default patch of the encoder ``patches2d``."""

_LONG = 1 << 20
"""Values that are scaled at once while they are measured."""

_DIMENSIONS = {"sequences": (1, 2), "symbols": (1,), "images": (2, 3), "features": (1,)}
"""Dimensions of an example."""


class ArraysPreparation(Preparation):
    """How an array becomes tokens.

    Args:
        read_as: what the arrays are.
        shape: shape of an example; for sequences and symbols without the steps.
        max_length: steps of the longest training example.
        channels_first: whether images are (C, H, W).
        symbols: size of the alphabet; 0 if there is none.
        mean: mean of each channel or feature over the training examples.
        deviation: standard deviation of each; 0 for a constant one.
        target: what is predicted.
        x: name of the array of inputs; None for the usual ones.
        y: names of the arrays of targets; empty for the usual ones.
        lengths: name of the array of lengths; None for the usual ones.
    """

    read_as: ReadAs
    shape: tuple[int, ...]
    max_length: int
    channels_first: bool
    symbols: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    target: Annotated[Target | Tags, Field(discriminator="kind")]
    x: str | None = None
    y: tuple[str, ...] = ()
    lengths: str | None = None

    @property
    def input(self) -> Vectors | Symbols | Grid:
        """That of the arrays."""
        if self.read_as == "symbols":
            return Symbols(self.symbols)
        if self.read_as == "features":
            return Grid((self.shape[0], 1))
        if self.read_as == "images":
            height, width, channels = self.picture
            return Grid((height + -height % EACH, width + -width % EACH), channels)
        return Vectors(self.channels)

    @property
    def picture(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        shape = (*self.shape, 1) if len(self.shape) == 2 else self.shape
        return (shape[1], shape[2], shape[0]) if self.channels_first else (shape[0], shape[1], shape[2])

    @property
    def channels(self) -> int:
        """Numbers that are scaled on their own: per step, per pixel, or features."""
        if self.read_as == "images":
            return self.picture[2]
        return self.shape[0] if self.shape else 1

    @property
    def output(self) -> OutputKind:
        """That of the target."""
        return self.target.output

    def metrics(self) -> Mapping[str, Metric]:
        """New metrics of the target."""
        return self.target.metrics()

    def answers(self, predictions: Tensor) -> list[dict[str, Any]]:
        """Predictions in the words and units of the data; see `fptkit.Preparation.answers`."""
        return self.target.answers(predictions)

    @property
    def max_tokens(self) -> int:
        """Steps of the longest training example, or cells of the grid."""
        kind = self.input
        return kind.max_tokens if isinstance(kind, Grid) else self.max_length

    def read(self, source: Sequence[str]) -> Examples:
        """Read new examples, of all splits of a source together, with targets if they are there.

        Raises:
            FptkitError: see `fptkit.tasks.arrays.reader.read_source`.
        """
        found = Examples.joined([self._read(entries) for entries in _together(source)])
        known = all(column in found.labels for column in self.target.columns)
        fits = known and isinstance(self.target, Tags) == has_tags(found)
        return found if fits else Examples(found.content, found.names, notes=found.notes)

    def _read(self, entries: Sequence[str]) -> Examples:
        wanted = Wanted(self.x, self.y, self.lengths, unlabelled=True)
        return read_unlabelled(entries, wanted, config=None, revision=None)

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`.

        Raises:
            DataError: an example has another shape, an unknown symbol, or a value that is not finite.
        """
        inputs, lengths = self.inputs(list(map(np.asarray, examples.content)), examples.names)
        return Batch(inputs, self.targets(examples, inputs.shape[1]), lengths)

    def show(self, content: Any) -> Shown | None:
        """A picture, a series, or the features by number; None for symbols."""
        array = np.asarray(content)
        if self.read_as == "images":
            return Shown(picture=_brightness(channels_last(array, self.channels_first)))
        if self.read_as == "sequences":
            return Shown(series=array.astype(np.float64))
        if self.read_as == "features":
            return Shown(cells={f"[{place}]": f"{value:.5g}" for place, value in enumerate(array.tolist())})
        return None

    def targets(self, examples: Examples, tokens: int) -> Tensor:
        """Targets of labelled examples, zeros for unlabelled ones.

        Args:
            examples: with or without labels.
            tokens: steps of the longest of them, for a target at every step.

        Raises:
            DataError: a label does not fit.
        """
        if isinstance(self.target, Tags):
            return self.target.padded(examples, list(map(len, examples.content)), tokens)
        return self.target.encode(examples)

    def inputs(
        self, content: Sequence[Array] | NDArray[np.object_], names: Sequence[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Inputs of examples, and their lengths if these differ.

        Args:
            content: the examples.
            names: what to call each in messages.

        Raises:
            DataError: see `prepare`.
        """
        self.check(content, names)
        if self.read_as == "symbols":
            return self._padded([array.astype(np.int64) for array in content])
        scaled = [self._scaled(array, name) for array, name in zip(content, names, strict=True)]
        if self.read_as == "sequences":
            return self._padded(scaled)
        stacked = torch.from_numpy(np.stack(scaled))
        if self.read_as == "features":
            return stacked[:, :, None, None], None
        height, width, _ = self.picture
        return torch.nn.functional.pad(stacked, (0, 0, 0, -width % EACH, 0, -height % EACH)), None

    def check(self, content: Sequence[Array] | NDArray[np.object_], names: Sequence[str]) -> None:
        """Check shapes and values of examples.

        Raises:
            DataError: see `prepare`.
        """
        for array, name in zip(content, names, strict=True):
            steps = self.read_as in ("sequences", "symbols")
            shape = array.shape[1:] if steps else array.shape
            if shape != self.shape or array.ndim < 1 or not array.size:
                expected = ", ".join(map(str, (("T", *self.shape) if steps else self.shape)))
                raise DataError(f"{name}: an array of shape {array.shape}; expected ({expected})")
            if steps and len(array) > self.max_length:
                raise DataError(
                    f"{name}: {len(array):,} steps, but the longest example in training has {self.max_length:,}; cut it"
                )
        if self.read_as == "symbols":
            self._check_symbols(content, names)
        else:
            check_finite(content, names)

    def _check_symbols(self, content: Sequence[Array] | NDArray[np.object_], names: Sequence[str]) -> None:
        for array, name in zip(content, names, strict=True):
            if array.dtype.kind not in "biu":
                raise DataError(f"{name}: {array.dtype} instead of whole numbers; symbols are whole numbers from 0")
            if int(array.min()) < 0 or int(array.max()) >= self.symbols:
                wrong = (array < 0) | (array >= self.symbols)
                place = int(np.argmax(wrong))
                raise DataError(
                    f"{name}: the symbol at [{place}] is {array[place]}; the model knows 0 to {self.symbols - 1}"
                )

    def _scaled(self, array: Array, name: str) -> NDArray[np.float32]:
        values = channels_last(array, self.channels_first and self.read_as == "images").astype(np.float64)
        if self.read_as in ("images", "sequences") and len(self.shape) == (2 if self.read_as == "images" else 0):
            values = values[..., None]
        deviation = np.array(self.deviation)
        scaled = np.where(deviation > 0, (values - self.mean) / np.where(deviation > 0, deviation, 1.0), 0.0)
        with np.errstate(over="ignore"):
            narrow: NDArray[np.float32] = scaled.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise DataError(f"{name}: a value is too far from those of the training examples to be scaled; correct it")
        return narrow

    def _padded(self, arrays: Sequence[Array]) -> tuple[Tensor, Tensor | None]:
        lengths = torch.tensor([len(array) for array in arrays])
        if bool((lengths == lengths[0]).all()):
            return torch.from_numpy(np.stack(arrays)), None
        filled = np.zeros((len(arrays), int(lengths.max()), *arrays[0].shape[1:]), arrays[0].dtype)
        for row, array in enumerate(arrays):
            filled[row, : len(array)] = array
        return torch.from_numpy(filled), lengths


def _brightness(image: Array) -> NDArray[np.uint8]:
    """An image as bytes; numbers of another kind are scaled from their lowest to their highest."""
    if image.ndim == 3 and image.shape[-1] not in (1, 3):
        image = image[..., :1]
    if image.dtype == np.uint8:
        return image
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    return np.round(255 * (values - low) / (high - low or 1.0)).astype(np.uint8)


def _together(source: Sequence[str]) -> list[Sequence[str]]:
    """Entries that are read together: ``.npy`` files of which one is named as inputs are the arrays of one data set."""
    stems = [Path(entry.removeprefix("path:")).stem for entry in source if entry.lower().endswith(".npy")]
    if len(stems) == len(source) and any(parted(stem)[0] in X for stem in stems):
        return [source]
    return [[entry] for entry in source]


def channels_last(array: Array, first: bool) -> Array:
    """An image with its channels last."""
    return np.moveaxis(array, 0, -1) if first and array.ndim == 3 else array


def measured(
    content: Sequence[Array] | NDArray[np.object_], channels: int, *, first: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over some examples; 0 for a constant one.

    Args:
        content: the examples; their last dimension has the channels, unless there is one channel.
        channels: number of channels.
        first: whether images are (C, H, W).
    """

    def parts() -> Iterator[Array]:
        each = max(1, _LONG // max(1, content[0].size))
        for start in range(0, len(content), each):
            some = content[start : start + each]
            yield np.concatenate([channels_last(array, first).reshape(-1, channels) for array in some])

    found = moments_in_parts(parts)
    return tuple(found.mean[0].tolist()), tuple(found.deviation[0].tolist())


def what_they_are(content: Sequence[Array] | NDArray[np.object_], wanted: str, where: str) -> ReadAs:
    """What examples are, by shape and type, unless the option says it.

    Raises:
        DataError: they have too many dimensions, or others than the option says.
    """
    first = content[0]
    whole = first.dtype.kind in "biu"
    if wanted == "auto":
        if first.ndim == 1:
            equal = len({len(array) for array in content}) == 1
            symbols = whole and min(int(array.min()) for array in content) >= 0
            features = equal and len(first) <= FEW_FEATURES
            wanted = "symbols" if symbols else "features" if features else "sequences"
        elif first.ndim == 2:
            wanted = "images" if first.dtype == np.uint8 and min(first.shape) >= EACH else "sequences"
        else:
            wanted = "images"
    if first.ndim not in _DIMENSIONS[wanted]:
        shapes = {"sequences": "(N, T) or (N, T, F)", "images": "(N, H, W) or (N, H, W, C)"}.get(wanted, "(N, D)")
        raise DataError(f"{where}: an example has the shape {first.shape}; {wanted} must be {shapes} (option read_as)")
    return wanted  # type: ignore[return-value]


def alphabet(content: Sequence[Array] | NDArray[np.object_], names: Sequence[str]) -> int:
    """Size of the alphabet of symbols 0, 1, ...

    Raises:
        DataError: they are no symbols.
    """
    for array, name in zip(content, names, strict=True):
        if array.dtype.kind not in "biu" or int(array.min()) < 0:
            raise DataError(
                f"{name}: {array.dtype} from {array.min()}; symbols are whole numbers from 0 (option read_as)"
            )
    highest = max(int(array.max()) for array in content)
    if highest >= MOST_SYMBOLS:
        raise DataError(
            f"{names[0]}: whole numbers up to {highest:,} are no symbols; set read_as: features or sequences"
        )
    return max(2, highest + 1)
