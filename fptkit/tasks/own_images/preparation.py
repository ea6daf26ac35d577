"""The preparation of pictures: their size, colours, and normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fptkit.interfaces import Batch, Examples, Grid, Shown
from fptkit.tasks.images.folders import ENDINGS, find_pictures
from fptkit.tasks.own_data.target import TargetPreparation
from fptkit.tasks.own_images.decode import Form, decode
from fptkit.tasks.own_images.options import TABLES, Resize
from fptkit.tasks.own_images.reader import lists_pictures
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.listed import listed_files, path_column
from fptkit.tasks.reading.paths import find_files
from fptkit.tasks.table.reader import read_table


class ImagesPreparation(TargetPreparation):
    """How a picture becomes a grid of numbers.

    Args:
        size: height and width in pixels.
        resize: how pictures get this size.
        colour: ``rgb`` or ``grey``.
        background: colour behind transparent pixels and around filled pictures.
        mean: mean of each channel over the training pictures, of pixels in 0 ... 1.
        deviation: standard deviation of each channel; 0 for a constant one.
        target: what is predicted.
        path: column of paths of a table; None: the one with a usual name.
        delimiter: character between the cells of a table; None: it is found.
    """

    size: tuple[int, int]
    resize: Resize
    colour: Literal["rgb", "grey"]
    background: tuple[int, int, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    path: str | None = None
    delimiter: str | None = None

    @property
    def form(self) -> Form:
        """Size and colours."""
        return Form(self.size, self.resize, self.colour, self.background)

    @property
    def input(self) -> Grid:
        """A cell for each pixel."""
        return Grid(self.size, self.form.channels)

    @property
    def max_tokens(self) -> int:
        """Number of pixels."""
        return self.input.max_tokens

    def read(self, source: Sequence[str]) -> Examples:
        """Find new pictures: files, all in folders and below, or those that tables list.

        They have labels if a table has the target columns, or if every picture is in a folder named as a class.

        Raises:
            SourceError: there is nothing at a place.
            DataError: a table lists a picture that does not exist.
        """
        entries = {"all": tuple(source)}
        if lists_pictures(entries):
            return Examples.joined([self._listed(path) for path in find_files(entries, TABLES, own=False).files])
        found = find_pictures(entries, own=False)
        classes = {file: self._class_of(file.relative_to(found.base[file]).parts[:-1]) for file in found.files}
        labelled = self.target.kind == "classes" and all(classes.values())
        return Examples(
            list(map(str, found.files)),
            list(map(str, found.files)),
            {self.target.columns[0]: [classes[file] or "" for file in found.files]} if labelled else {},
            notes=found.notes,
        )

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Content: paths of pictures. Shapes: inputs (B, H, W, C).

        Raises:
            DataError: a picture cannot be decoded.
        """
        decoded = decode(list(examples.content), list(map(str, examples.content)), self.form)
        return Batch(self.tokens(torch.from_numpy(decoded.pixels)), self.target.encode(examples))

    def show(self, content: Any) -> Shown:
        """The picture as the model sees it. Content: its path.

        Raises:
            DataError: it cannot be decoded any more.
        """
        return Shown(picture=decode([str(content)], [str(content)], self.form).pixels[0])

    def tokens(self, pixels: Tensor) -> Tensor:
        """Normalise pixels. Shapes: (B, H, W, C) uint8 -> float32."""
        mean = torch.tensor(self.mean)
        deviation = torch.tensor([value or 1.0 for value in self.deviation])
        return (pixels.float() / 255 - mean) / deviation

    def _class_of(self, folders: tuple[str, ...]) -> str | None:
        """The class that one of the folders above a picture names."""
        for name in ("/".join(folders), *folders):
            if same_label(name) in self.target.names:
                return name
        return None

    def _listed(self, path: Path) -> Examples:
        table = read_table(path, self.delimiter)
        files = listed_files(table, path_column(table, self.path, ENDINGS), path.parent, ENDINGS)
        labelled = all(name in table.columns for name in self.target.columns)
        return Examples(
            list(map(str, files)),
            [table.where(row) for row in range(len(table))],
            {name: table.columns[name] for name in self.target.columns} if labelled else {},
            notes=table.notes,
        )
