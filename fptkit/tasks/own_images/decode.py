"""Many pictures as one array of pixels."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.tasks.images.pictures import WHITE, header, in_threads, read_picture
from fptkit.tasks.own_images.geometry import fitted

Pixels = NDArray[np.uint8]

IN_MEMORY = 2 << 30
"""Bytes of pixels above which they are in a temporary file, mapped into memory, and not in memory."""


@dataclass(frozen=True)
class Form:
    """How pictures become pixels.

    Args:
        size: height and width.
        resize: ``crop``, ``stretch``, ``pad`` or ``none``.
        colour: ``rgb`` or ``grey``.
        background: colour behind transparent pixels and around filled pictures.
    """

    size: tuple[int, int]
    resize: str = "crop"
    colour: str = "rgb"
    background: tuple[int, int, int] = WHITE

    @property
    def channels(self) -> int:
        """Numbers per pixel."""
        return 1 if self.colour == "grey" else 3


@dataclass(frozen=True)
class Decoded:
    """Decoded pictures.

    Args:
        pixels: (N, H, W, C).
        transparent: how many have pixels that are not opaque.
        vanished: how many have one colour only over the background.
        animated: how many have further frames, which are not read.
    """

    pixels: Pixels
    transparent: int
    vanished: int
    animated: int


def decode(sources: Sequence[str | bytes], names: Sequence[str], form: Form) -> Decoded:
    """Decode pictures in several threads.

    Shapes: -> pixels (N, H, W, C).

    Args:
        sources: paths, or the content of files.
        names: what to call each in messages.
        form: size and colours.

    Raises:
        DataError: some cannot be decoded; the first of them are named.
    """
    pixels = _room((len(sources), *form.size, form.channels))

    def place(row: int) -> tuple[bool, bool, bool]:
        source = sources[row]
        content = Path(source) if isinstance(source, str) else source
        mode = "L" if form.colour == "grey" else "RGB"
        found = read_picture(content, names[row], colour=mode, background=form.background)
        image = fitted(found.image, form.size, form.resize, form.background)
        pixels[row] = np.asarray(image).reshape(*form.size, form.channels)
        return found.transparent, found.vanished, found.animated

    facts = in_threads(place, range(len(sources)))
    transparent, vanished, animated = (sum(column) for column in zip(*facts, strict=True))
    return Decoded(pixels, transparent, vanished, animated)


def headers(paths: Sequence[str]) -> tuple[set[tuple[int, int]], bool]:
    """Sizes of pictures, as (height, width), and whether all are grey. Those that cannot be read are left out."""
    found = [entry for entry in in_threads(lambda path: header(Path(path)), paths) if entry]
    return {size for size, _ in found}, all(mode in ("1", "L", "LA") for _, mode in found)


def _room(shape: tuple[int, ...]) -> Pixels:
    """An array for pixels: in memory, or mapped from a temporary file that is removed when nothing uses it."""
    if int(np.prod(shape, dtype=np.int64)) <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    try:
        with tempfile.TemporaryFile(prefix="fptkit-pictures-") as file:
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as err:
        gibibytes = np.prod(shape, dtype=np.float64) / 2**30
        raise DataError(
            f"{tempfile.gettempdir()}: no room for {gibibytes:.0f} GiB of pixels ({err.strerror or err}); lower the "
            "option size, or set TMPDIR to a larger disk"
        ) from err


def level_moments(pixels: Pixels, rows: NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over some pictures, of values in 0 ... 1; exact, from counts.

    A channel that is constant has the deviation 0.

    Shapes: pixels (N, H, W, C), rows (M,) -> C numbers each.
    """
    counts = np.zeros((pixels.shape[-1], 256), np.int64)
    for row in rows:
        for channel, count in enumerate(counts):
            count += np.bincount(pixels[row, ..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = counts @ levels / counts.sum(1)
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    constant = (counts > 0).sum(1) == 1
    return tuple(mean.tolist()), tuple(np.where(constant, 0.0, np.sqrt(variance)).tolist())
