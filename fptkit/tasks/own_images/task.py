"""The task ``images``: predict classes, labels or numbers from pictures of any size."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit.interfaces import Batch, Examples, Preparation, Split
from fptkit.tasks.images.examples import ImageStore, Moves
from fptkit.tasks.images.folders import ENDINGS, ClassFolders, class_folders
from fptkit.tasks.images.pictures import fact_notes
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.own_data.task import OwnDataTask
from fptkit.tasks.own_images.decode import Pixels, decode, headers, level_moments
from fptkit.tasks.own_images.options import TABLES, ImagesOptions, colour_of
from fptkit.tasks.own_images.preparation import ImagesPreparation
from fptkit.tasks.own_images.reader import SUBFOLDER, lists_pictures, pictures_of, uses_own_splits
from fptkit.tasks.reading.listed import need_table, path_column, repeated_notes, unused_note
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.paths import SourceFiles, find_files
from fptkit.tasks.reading.usual import target_columns
from fptkit.tasks.table.reader import read_table

DEFAULT_SIDE = 64
"""Side in pixels of pictures that have no common size, or a larger one."""

_EACH = 4
"""Pixels of which a side must be a multiple to be used as it is: the default patch of the encoder ``patches2d``."""


class PictureSplit:
    """A split of decoded pictures, which are normalised, and augmented if wanted, in each batch.

    Args:
        pixels: (M, H, W, C) decoded pictures; several splits share them.
        rows: (N,) the pictures of this split.
        targets: (N, ...) their targets.
        preparation: normalises them.
        augment: whether batches augment their pictures, see `Moves`.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None = None

    def __init__(
        self, pixels: Pixels, rows: NDArray[np.int64], targets: Tensor, preparation: ImagesPreparation, augment: bool
    ) -> None:
        self.size = len(rows)
        self.targets = targets
        self._pixels, self._rows = pixels, rows
        self._preparation, self._augment = preparation, augment

    def plain(self) -> PictureSplit:
        """Return the same split without augmentation."""
        same = copy.copy(self)
        same._augment = False
        return same

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the pictures with these indices.

        Shapes: inputs (B, H, W, C) float32, targets as the target says.

        Args:
            indices: indices of the pictures, at least one.
            generator: draws the augmentation of each picture, if the split is augmented.
        """
        chosen = np.asarray(indices, np.int64)
        pixels = self._pixels[self._rows[chosen]]
        images = torch.from_numpy(np.ascontiguousarray(pixels))
        if self._augment:
            moves = Moves.draw(len(chosen), generator)
            images = ImageStore(pixels).take(torch.arange(len(chosen)), moves)
        return Batch(self._preparation.tokens(images), self.targets[torch.from_numpy(chosen)])


class Images(OwnDataTask):
    """Predict classes, several labels, or numbers from pictures.

    A picture is decoded once, brought to one size, and kept as bytes; batches are normalised by mean and standard
    deviation of each channel over the training pictures. The encoder cuts it into patches.

    Args:
        options: see `ImagesOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used.

    Shapes: inputs (B, H, W, C); targets (B,) for classes, (B, 1, L) for L labels, (B, width) for numbers.

    Raises:
        SourceError: there is nothing at a place, or no picture.
        DataError: a picture cannot be decoded, is missing, or is in no class folder.
        UsageError: options and table do not fit.
    """

    name, endings = "images", ENDINGS

    def __init__(self, options: ImagesOptions, *, seed: int, pinned: str | None = None) -> None:
        self._folders: ClassFolders | None = None
        if not lists_pictures(options.source):
            need_table(options, ("target", "path", "root", "delimiter"))
            # Folders named 1 to 100 are classes, not numbers, and one may have the name none.
            named = {"problem": "classification", "missing": ("",)} if options.problem == "auto" else {"missing": ("",)}
            options = options.model_copy(update=named)
        super().__init__(options, seed=seed, pinned=pinned)
        self.warnings = (*self.warnings, *self._picture_warnings())

    def find(self, options: TargetOptions) -> SourceFiles:
        """See `OwnDataTask.find`: pictures in class folders, or tables."""
        assert isinstance(options, ImagesOptions)
        own = uses_own_splits(options)
        if lists_pictures(options.source):
            return find_files(options.source, TABLES, own=own)
        self._folders = class_folders(options.source, own=own, class_folder=options.class_folder)
        return self._folders.files

    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        """See `OwnDataTask.read_split`. Content: paths of pictures."""
        assert isinstance(options, ImagesOptions)
        if self._folders is None:
            return Examples.joined([_listed(path, options) for path in files.splits[split]])
        pictures, folders = files.splits[split], self._folders
        paths = list(map(str, pictures))
        return Examples(
            paths,
            paths,
            {"class": [folders.classes[file] for file in pictures]},
            {SUBFOLDER: [folders.inner[file] for file in pictures]},
        )

    def fit(
        self, examples: Examples, train: NDArray[np.int64], target: Target, options: TargetOptions
    ) -> ImagesPreparation:
        """See `OwnDataTask.fit`. Decodes all pictures, each file once.

        Raises:
            DataError: some cannot be decoded.
        """
        assert isinstance(options, ImagesOptions)
        self._background = options.background
        paths = list(dict.fromkeys(examples.content))
        self._row = {path: row for row, path in enumerate(paths)}
        sizes, grey = headers(paths)
        settings = {
            "size": options.size or _common_size(sizes),
            "resize": options.resize,
            "colour": ("grey" if grey else "rgb") if options.colour == "auto" else options.colour,
            "background": colour_of(options.background),
            "target": target,
            "path": options.path,
            "delimiter": options.delimiter,
        }
        unscaled = ImagesPreparation(**settings, mean=(), deviation=())
        self._sizes, self._decoded = sizes, decode(paths, paths, unscaled.form)
        mean, deviation = level_moments(self._decoded.pixels, self._rows([examples.content[row] for row in train]))
        return ImagesPreparation(**settings, mean=mean, deviation=deviation)

    def make_split(self, preparation: Preparation, examples: Examples, name: str, options: TargetOptions) -> Split:
        """See `OwnDataTask.make_split`: pictures stay bytes."""
        assert isinstance(preparation, ImagesPreparation)
        assert isinstance(options, ImagesOptions)
        targets = self.target.encode(examples)
        augment = options.augment and name == "train"
        return PictureSplit(self._decoded.pixels, self._rows(examples.content), targets, preparation, augment)

    def key_of(self, content: object) -> int:
        """The same for pictures with the same pixels, whatever their files are."""
        return hash(self._decoded.pixels[self._row[str(content)]].tobytes())

    def further_notes(self, preparation: Preparation, examples: Mapping[str, Examples]) -> Sequence[str]:
        """Sizes, colours, and what was left out of pictures."""
        assert isinstance(preparation, ImagesPreparation)
        height, width = preparation.size
        own = _shown_sizes(self._sizes)
        how = f"pictures: {own}, read as {width} x {height} (resize {preparation.resize}), {preparation.colour}"
        return (
            how,
            *fact_notes(self._decoded.transparent, self._decoded.animated, self._background),
            *repeated_notes([Path(path) for some in examples.values() for path in some.content]),
        )

    def _rows(self, paths: Sequence[str] | NDArray[np.object_]) -> NDArray[np.int64]:
        return np.array([self._row[path] for path in paths], np.int64)

    def _picture_warnings(self) -> tuple[str, ...]:
        found = self._folders.warnings if self._folders else ()
        if self._decoded.vanished:
            found = (
                *found,
                f"{self._decoded.vanished:,} transparent pictures have one colour only over the background; choose "
                "another colour (option background)",
            )
        assert isinstance(self.preparation, ImagesPreparation)
        if not any(self.preparation.deviation):
            found = (*found, "all training pictures have one and the same colour, so nothing can be learnt from them")
        return found


def _listed(path: Path, options: ImagesOptions) -> Examples:
    """The pictures that a table lists, with labels."""
    table = read_table(path, options.delimiter)
    paths = path_column(table, options.path, ENDINGS)
    split = [name for name in (options.split.group, options.split.time, options.split.column) if name]
    for name in split:
        table.need(name, "task.split")
    targets = target_columns(table.columns, options.target, (paths, *split), table.name)
    return Examples(
        list(map(str, pictures_of(table, path, options))),
        [table.where(row) for row in range(len(table))],
        {name: table.columns[name] for name in targets},
        {name: table.columns[name] for name in split},
        (*table.notes, *unused_note(table, (paths, *targets, *split))),
    )


def _common_size(sizes: set[tuple[int, int]]) -> tuple[int, int]:
    """The size of all pictures if they have one that can be used as it is, otherwise the default."""
    if len(sizes) == 1:
        [(height, width)] = sizes
        if max(height, width) <= DEFAULT_SIDE and height % _EACH == width % _EACH == 0:
            return height, width
    return DEFAULT_SIDE, DEFAULT_SIDE


def _shown_sizes(sizes: set[tuple[int, int]]) -> str:
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    shown = [f"{width} x {height}" for height, width in ordered]
    if len(shown) == 1:
        return f"{shown[0]} pixels"
    return f"{len(shown):,} sizes from {shown[0]} to {shown[-1]} pixels"
