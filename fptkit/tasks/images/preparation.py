"""The preparation of the image tasks: the shape of their images, and how these become tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Classes, Examples, Preparation, Shown, Vectors
from fptkit.tasks.images import examples as stored
from fptkit.tasks.images.new_images import LABEL, read_new_images
from fptkit.tasks.images.pictures import in_threads, read_picture
from fptkit.tasks.images.readers import Form
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.numbers import short


class ImageTaskPreparation(Preparation):
    """How an image of an image task becomes tokens, each a patch. Images are not augmented.

    Args:
        side: height and width of stored images, in pixels.
        channels: accepted numbers of channels; pictures are read with the first.
        count: number of classes.
        classes: their names; empty if they are numbers.
        patch_size: side of a patch in pixels.
        mean: mean of each channel, subtracted from pixels in 0 ... 1; empty for no normalisation.
        std: standard deviation of each channel, by which the result is divided.
        grey: whether colour images are converted to grey first.
        border: black pixels added on every side.
    """

    side: int
    channels: tuple[int, ...]
    count: int
    classes: tuple[str, ...]
    patch_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    grey: bool
    border: int

    @property
    def form(self) -> Form:
        """Required shape of images."""
        return Form(self.side, self.channels)

    @property
    def input(self) -> Vectors:
        """The pixels of a patch."""
        return Vectors(self.patch_size**2 * (1 if self.grey else self.channels[0]))

    @property
    def output(self) -> Classes:
        """The classes."""
        return Classes(self.count, names=self.classes)

    @property
    def max_tokens(self) -> int:
        """Number of patches."""
        return ((self.side + 2 * self.border) // self.patch_size) ** 2

    def read(self, source: Sequence[str]) -> Examples:
        """Read new images, see `fptkit.tasks.images.new_images`; all splits of a source together.

        Raises:
            SourceError: there is nothing at a place, or no image.
            DataError: a file is damaged, or its images have another shape.
        """
        return read_new_images(source, self.form, self.classes)

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Content: (H, W, C) uint8, or paths. Shapes: inputs (B, T, F).

        Raises:
            DataError: a picture cannot be decoded, has another size, or a label is unknown.
        """
        images = in_threads(self._pixels, list(zip(examples.content, examples.names, strict=True)))
        return Batch(self._tokens(images), self._targets(examples))

    def show(self, content: NDArray[np.uint8] | str) -> Shown:
        """See `fptkit.Preparation.show`: the image."""
        return Shown(picture=self._pixels((content, str(content)[:60])))

    def _tokens(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images may differ in their number of channels."""
        settings = stored.Preparation(self.patch_size, self.mean, self.std, self.grey, self.border)
        groups = itertools.groupby(images, key=lambda image: image.shape)
        return torch.cat([settings.tokens(torch.from_numpy(np.stack(list(some)))) for _, some in groups])

    def _pixels(self, named: tuple[NDArray[np.uint8] | str | Path, str]) -> NDArray[np.uint8]:
        """An image in the required form."""
        content, name = named
        if isinstance(content, (str, Path)):
            colour = "L" if self.channels[0] == 1 else "RGB"
            content = np.asarray(read_picture(Path(content), colour=colour).image)
        pixels = np.asarray(content)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        fits = pixels.ndim == 3 and pixels.shape[:2] == (self.side, self.side) and pixels.shape[2] in self.channels
        if not fits or pixels.dtype != np.uint8:
            shape = " x ".join(map(str, pixels.shape))
            raise DataError(f"{name}: an image of {shape} {pixels.dtype}; expected {self.form} uint8 (0 to 255)")
        return np.ascontiguousarray(pixels)

    def _targets(self, examples: Examples) -> Tensor:
        cells = examples.labels.get(LABEL)
        if cells is None:
            return torch.zeros(len(examples), dtype=torch.int64)
        known = self.classes or tuple(map(str, range(self.count)))
        places = {name: number for number, name in enumerate(known)}
        # Stored data may number classes that folders named.
        numbered = {str(number): number for number in range(self.count)} | places
        found = []
        for cell, name in zip(cells, examples.names, strict=True):
            place = numbered.get(same_label(cell))
            if place is None:
                raise DataError(f"{name}: unknown label {short(cell)}; the model knows {', '.join(known)}")
            found.append(place)
        return torch.tensor(found)
