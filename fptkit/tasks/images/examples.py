"""Stored images as batches of tokens; preparation and augmentation are vectorised over the batch.

The images stay in memory as bytes. A batch is one gather of pixels: crop, flip and rotation are composed into one map
from output pixels to stored pixels before any pixel is read.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from fptkit.interfaces import Batch

PADDING = 4
"""Largest shift of the random crop in pixels, in each direction."""

DEGREES = 20.0
"""Largest random rotation in degrees, in either direction."""

BRIGHTNESS = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, rounded as in torchvision's Grayscale)."""


@dataclass(frozen=True)
class Preparation:
    """Settings that turn stored images into tokens.

    Args:
        patch_size: side of a patch in pixels.
        mean: mean of each channel, subtracted from pixels in 0 ... 1; empty for no normalisation.
        std: standard deviation of each channel, by which the result is divided.
        grey: whether colour images are converted to grey first.
        border: black pixels added on every side.
    """

    patch_size: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    grey: bool = False
    border: int = 0

    def tokens(self, images: Tensor) -> Tensor:
        """Convert a batch of stored images to tokens.

        Shapes: images (B, H, W, C) uint8 -> (B, T, F) float32 with T = (H / patch) * (W / patch), row by row, and
        F = patch * patch * channels, the channels of a pixel side by side.

        Source: kzl/universal-computation, ``datasets/cifar10.py`` and ``cifar10_gray.py``: ToTensor, Grayscale and
        Normalize of torchvision, then the pattern below. Here pixels are scaled and normalised in one step.
        """
        if self.border:
            images = torch.nn.functional.pad(images, (0, 0, *4 * (self.border,)))
        pixels = images.float()
        if self.grey and pixels.shape[-1] == 3:
            pixels = (pixels @ torch.tensor(BRIGHTNESS))[..., None]
        size = self.patch_size
        tokens: Tensor = rearrange(pixels, "b (h p1) (w p2) c -> b (h w) (p1 p2 c)", p1=size, p2=size)
        mean, std = torch.tensor(self.mean or (0.0,)), torch.tensor(self.std or (1.0,))
        each = tokens.shape[-1] // len(std)  # repeats each channel's constants for every pixel of a token
        return torch.addcmul((-mean / std).repeat(each), tokens, (1 / (255 * std)).repeat(each))


@dataclass(frozen=True)
class Moves:
    """Augmentation of each image of a batch: crop, then flip, then rotation.

    Args:
        left: (B,) int64 first column of the crop, in the image padded by `PADDING`; 0 ... 2 * `PADDING`.
        top: (B,) int64 first row of the crop, in the same range.
        flipped: (B,) bool, mirrored left to right.
        degrees: (B,) float32 rotation about the centre, counter-clockwise.
    """

    left: Tensor
    top: Tensor
    flipped: Tensor
    degrees: Tensor

    @classmethod
    def draw(cls, count: int, generator: torch.Generator) -> Moves:
        """Draw a crop, flip and rotation for each image independently.

        The distributions are those of torchvision's RandomCrop(padding=4), RandomHorizontalFlip and
        RandomRotation(20).
        """
        left, top = torch.randint(0, 2 * PADDING + 1, (2, count), generator=generator)
        flipped = torch.rand(count, generator=generator) < 0.5
        return cls(left, top, flipped, (2 * torch.rand(count, generator=generator) - 1) * DEGREES)

    def places(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the stored pixel that each pixel of the augmented images comes from.

        torchvision's random transforms are not used: they draw one crop, flip and angle for the entire batch, from
        torch's global generator. Order, probabilities and conventions are torchvision's (rotation about the centre,
        counter-clockwise, nearest pixel, black outside): the result equals its ``functional`` pad, crop, hflip and
        rotate on each image, up to the rounding of coordinates halfway between two pixels.

        Shapes: (B, H, W) int64, row * width + column in the stored image; (B, H, W) bool, true for pixels outside it.

        Args:
            height: of the stored images, in pixels.
            width: of the stored images, in pixels.
        """
        radians = (self.degrees * (math.pi / 180))[:, None, None]
        cosine, sine = radians.cos(), radians.sin()
        mirror = torch.where(self.flipped, -1.0, 1.0)[:, None, None]
        x = torch.arange(width) - (width - 1) / 2  # from the centre
        y = (torch.arange(height) - (height - 1) / 2)[:, None]
        right, down = (((shift - PADDING).float())[:, None, None] for shift in (self.left, self.top))
        # Backwards, from the augmented image to the stored one: rotate, mirror, shift.
        column = (x * (mirror * cosine) + (right + (width - 1) / 2 - y * (mirror * sine))).round_()
        row = (x * sine + (down + (height - 1) / 2 + y * cosine)).round_()
        # Pixels outside the crop stay black, even if the rotation would move them back in.
        nearest_column = torch.clamp(column, right.clamp(min=0), width - 1 + right.clamp(max=0))
        nearest_row = torch.clamp(row, down.clamp(min=0), height - 1 + down.clamp(max=0))
        outside = (nearest_column != column).logical_or_(nearest_row != row)
        return nearest_row.mul_(width).add_(nearest_column).long(), outside


class ImageStore:
    """Images in memory, one number per pixel, so that a batch is a single gather.

    Shapes: images (M, H, W, C) uint8 with 1 or 3 channels.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        count, self.height, self.width, self.channels = images.shape
        bytes_each = 1 if self.channels == 1 else 4  # three channels and a spare byte make one 32-bit number
        flat = torch.zeros((count * self.height * self.width + 1, bytes_each), dtype=torch.uint8)
        flat[:-1, : self.channels] = torch.from_numpy(images).reshape(-1, self.channels)
        self._pixels = flat.view(torch.uint8 if bytes_each == 1 else torch.int32)[:, 0]
        self._black = len(flat) - 1  # index of the black pixel that is used for everything outside an image

    def take(self, rows: Tensor, moves: Moves | None = None) -> Tensor:
        """Return the images of these rows, augmented by ``moves`` if given.

        Shapes: rows (B,) int64 -> (B, H, W, C) uint8.
        """
        each = self.height * self.width
        if moves is None:
            pixels = self._pixels[: self._black].view(-1, each).index_select(0, rows)
        else:
            places, outside = moves.places(self.height, self.width)
            places = (places + (rows * each)[:, None, None]).masked_fill_(outside, self._black)
            pixels = self._pixels.index_select(0, places.flatten())
        shape = (len(rows), self.height, self.width, -1)
        return pixels.view(torch.uint8).view(shape)[..., : self.channels]


class ImageExamples:
    """A `fptkit.interfaces.Split` of images with one class each.

    Args:
        store: M images; several splits may share it.
        labels: (M,) int64 class of each image.
        which: (N,) int64 rows of the images in this split.
        preparation: turns images into tokens.
        augment: whether batches augment their images (see `Moves`).

    Attributes:
        targets: (N,) int64 classes of this split's images.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None = None

    def __init__(
        self,
        store: ImageStore,
        labels: NDArray[np.int64],
        which: NDArray[np.int64],
        preparation: Preparation,
        *,
        augment: bool = False,
    ) -> None:
        self.size = len(which)
        self.targets = labels[which]
        self._store = store
        self._which = torch.from_numpy(which)
        self._targets = torch.from_numpy(self.targets)
        self._preparation = preparation
        self._augment = augment

    def plain(self) -> ImageExamples:
        """Return the same split without augmentation."""
        same = copy.copy(self)
        same._augment = False
        return same

    def picture(self, index: int) -> NDArray[np.uint8]:
        """Return a stored image without augmentation. Shapes: (H, W, C)."""
        stored: NDArray[np.uint8] = self._store.take(self._which[index : index + 1])[0].numpy()
        return stored

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the images with these indices as tokens.

        Shapes: inputs (B, T, F) float32, targets (B,) int64; every image has T tokens.

        Args:
            indices: indices of the examples.
            generator: draws the augmentation of each image, if the split is augmented.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        moves = Moves.draw(len(chosen), generator) if self._augment else None
        images = self._store.take(self._which[chosen], moves)
        return Batch(self._preparation.tokens(images), self._targets[chosen])
