"""The task ``arrays``: predict classes, labels or numbers from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit.errors import UsageError
from fptkit.interfaces import Batch, Examples, Grid, Preparation, Split
from fptkit.tasks.arrays.options import ENDINGS, ArraysOptions
from fptkit.tasks.arrays.preparation import EACH, ArraysPreparation, alphabet, measured, what_they_are
from fptkit.tasks.arrays.reader import has_tags, read_source
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.own_data.task import FoundTarget, OwnDataTask
from fptkit.tasks.reading.json_lines import LIST
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.paths import SourceFiles
from fptkit.tasks.sequences.tags import Tags, fit_tags


class ArraySplit:
    """A split of arrays, which are scaled and padded in each batch, so that they take no further memory.

    Args:
        preparation: prepares them.
        examples: the examples, labelled.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None

    def __init__(self, preparation: ArraysPreparation, examples: Examples) -> None:
        self.size = len(examples)
        self._preparation, self._examples = preparation, examples
        # A class at every step is padded with its batch.
        tagging = isinstance(preparation.target, Tags)
        self._targets = None if tagging else preparation.targets(examples, 1)
        if tagging:
            for row in range(len(examples)):
                preparation.targets(examples.take([row]), len(examples.content[row]))  # refuses labels that do not fit
        counts = np.array([len(array) for array in examples.content], np.int64)
        varies = not isinstance(preparation.input, Grid) and bool((counts != counts[0]).any())
        self.token_counts = counts if varies else None

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the examples with these indices, padded on the right to the longest of them.

        Args:
            indices: indices of the examples, at least one.
            generator: not used; arrays involve no randomness.
        """
        some = self._examples.take(indices)
        inputs, lengths = self._preparation.inputs(some.content, some.names)
        if self._targets is None:
            return Batch(inputs, self._preparation.targets(some, inputs.shape[1]), lengths)
        return Batch(inputs, self._targets[torch.as_tensor(indices, dtype=torch.int64)], lengths)


class Arrays(OwnDataTask):
    """Predict classes, several labels, or numbers from arrays: sequences, symbols, images or features.

    Numbers are scaled by mean and standard deviation of each channel, or feature, over the training examples. Of
    features, each has a token with a map of its own (encoder ``features``).

    Args:
        options: see `ArraysOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used.

    Shapes: inputs (B, T, F) for sequences, (B, T) for symbols, (B, H, W, C) for images, (B, F, 1, 1) for features;
        targets (B,) for classes, (B, 1, L) for L labels, (B, width) for numbers.

    Raises:
        SourceError: there is nothing at a place.
        DataError: a file is damaged, or arrays do not fit together.
        UsageError: the options do not fit the arrays.
    """

    name, endings = "arrays", ENDINGS

    def __init__(self, options: ArraysOptions, *, seed: int, pinned: str | None = None) -> None:
        self._read = read_source(options)
        super().__init__(options, seed=seed, pinned=pinned)
        self.content = dict(self._read.digests or {})
        if isinstance(self.preparation, ArraysPreparation) and self.preparation.read_as == "features":
            self.default_encoder = "features"

    def find(self, options: TargetOptions) -> SourceFiles:
        """See `OwnDataTask.find`; arrays were read already, since their names say the splits."""
        return SourceFiles(dict.fromkeys(self._read.splits, ()), notes=self._read.notes)

    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        """See `OwnDataTask.read_split`. Content: an array for each example."""
        return self._read.splits[split]

    def declared_classes(self, files: SourceFiles, options: TargetOptions) -> Sequence[str]:
        """See `OwnDataTask.declared_classes`."""
        return self._read.classes

    def find_target(
        self, everything: Examples, train: Sequence[int] | NDArray[np.int64], options: TargetOptions
    ) -> FoundTarget:
        """See `OwnDataTask.find_target`; also tagging."""
        assert isinstance(options, ArraysOptions)
        if has_tags(everything):
            return fit_tags(everything, LIST, options.unlabelled)
        return super().find_target(everything, train, options)

    def fit(
        self, examples: Examples, train: NDArray[np.int64], target: Target | Tags, options: TargetOptions
    ) -> ArraysPreparation:
        """See `OwnDataTask.fit`.

        Raises:
            DataError: examples differ in shape, or a value is not finite.
        """
        assert isinstance(options, ArraysOptions)
        content = examples.content
        steps = isinstance(target, Tags) and content[0].ndim == (1 if content[0].dtype.kind == "f" else 2)
        wanted = "sequences" if steps and options.read_as == "auto" else options.read_as
        kind = what_they_are(content, wanted, examples.names[0])
        if isinstance(target, Tags) and kind not in ("sequences", "symbols"):
            raise UsageError(f"task.read_as: a label for each step needs sequences or symbols, not {kind}")
        first = content[0]
        shape = tuple(map(int, first.shape[1:] if kind in ("sequences", "symbols") else first.shape))
        settings = {
            "read_as": kind,
            "shape": shape,
            "max_length": max(map(len, content)),
            "channels_first": kind == "images" and _channels_first(shape),
            "symbols": alphabet(content, examples.names) if kind == "symbols" else 0,
            "target": target,
            "x": options.inputs,
            "y": options.target,
            "lengths": options.lengths,
        }
        unscaled = ArraysPreparation(**settings, mean=(), deviation=())
        unscaled.check(content, examples.names)
        if kind == "symbols":
            return unscaled
        rows = [content[row] for row in train]
        mean, deviation = measured(rows, unscaled.channels, first=unscaled.channels_first)
        return ArraysPreparation(**settings, mean=mean, deviation=deviation)

    def make_split(self, preparation: Preparation, examples: Examples, name: str, options: TargetOptions) -> Split:
        """See `OwnDataTask.make_split`: arrays stay as they are."""
        assert isinstance(preparation, ArraysPreparation)
        return ArraySplit(preparation, examples)

    def further_notes(self, preparation: Preparation, examples: Mapping[str, Examples]) -> Sequence[str]:
        """What the arrays are read as."""
        assert isinstance(preparation, ArraysPreparation)
        kind = preparation.input
        if preparation.read_as == "images":
            height, width, channels = preparation.picture
            order = " with the channels first" if preparation.channels_first else ""
            filled = (
                f", filled to {kind.size[1]} x {kind.size[0]}"
                if isinstance(kind, Grid) and (height % EACH or width % EACH)
                else ""
            )
            what = f"images of {width} x {height} pixels and {channels} channels{order}{filled}"
        elif preparation.read_as == "features":
            what = f"{preparation.channels} features, each a token"
        elif preparation.read_as == "symbols":
            what = f"sequences of {preparation.symbols} symbols, at most {preparation.max_length:,} long"
        else:
            what = f"sequences of {preparation.channels} numbers per step, at most {preparation.max_length:,} long"
        constant = [place for place, value in enumerate(preparation.deviation) if not value]
        unused = (f"{len(constant)} of {preparation.channels} channels are constant in train, and become 0",)
        return (f"arrays are read as {what} (option read_as)", *(unused if constant else ()))


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Whether an image is (C, H, W) and not (H, W, C).

    It is if the first dimension is a usual number of channels, and the last one is not; and if the last two are equal
    and the first one is smaller, as in (13, 64, 64), a square of many bands.
    """
    if len(shape) != 3 or shape[-1] in (1, 3, 4):
        return False
    return shape[0] in (1, 3, 4) or shape[0] < shape[1] == shape[2]
