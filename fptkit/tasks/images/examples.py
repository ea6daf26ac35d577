"""Stored images as batches of tokens, prepared and moved about for the whole batch at once.

The images stay in memory as bytes. A batch is one gather of pixels: crop, flip and rotation only say from where in the
stored image each pixel comes, so they are composed before a single byte is read.
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
"""Pixels an image may be moved by, in each direction."""

DEGREES = 20.0
"""Largest rotation, to either side."""

BRIGHTNESS = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, rounded as torchvision's Grayscale has them)."""


@dataclass(frozen=True)
class Preparation:
    """From stored images to tokens.

    Args:
        patch_size: side of a patch in pixels.
        mean: of each channel, subtracted from pixels in 0 ... 1; empty for no normalisation.
        std: of each channel, the divisor afterwards.
        grey: whether colours become their brightness first.
        border: black pixels added on every side.
    """

    patch_size: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    grey: bool = False
    border: int = 0

    def tokens(self, images: Tensor) -> Tensor:
        """Prepare a batch.

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
        each = tokens.shape[-1] // len(std)  # the constants of a pixel, once for every pixel of a token
        return torch.addcmul((-mean / std).repeat(each), tokens, (1 / (255 * std)).repeat(each))


@dataclass(frozen=True)
class Moves:
    """How each image of a batch is moved: first cropped, then flipped, then turned.

    Args:
        left: (B,) int64 first column of the crop, in the image padded by `PADDING`; 0 ... 2 * `PADDING`.
        top: (B,) int64 its first row.
        flipped: (B,) bool, mirrored left to right.
        degrees: (B,) float32 turn about the centre, counter-clockwise.
    """

    left: Tensor
    top: Tensor
    flipped: Tensor
    degrees: Tensor

    @classmethod
    def draw(cls, count: int, generator: torch.Generator) -> Moves:
        """Draw them apart for each image, with the odds of torchvision's RandomCrop(padding=4), RandomHorizontalFlip
        and RandomRotation(20)."""
        left, top = torch.randint(0, 2 * PADDING + 1, (2, count), generator=generator)
        flipped = torch.rand(count, generator=generator) < 0.5
        return cls(left, top, flipped, (2 * torch.rand(count, generator=generator) - 1) * DEGREES)

    def places(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Where each pixel of the moved images comes from.

        Done without torchvision's random transforms, which draw one crop, flip and angle for a whole batch, and from
        torch's global generator. Taken from torchvision are their order, odds and conventions (rotation about the
        centre, counter-clockwise, nearest pixel, black outside): the result is that of its ``functional`` pad, crop,
        hflip and rotate on each image, up to the rounding of coordinates halfway between two pixels.

        Shapes: (B, H, W) int64, row * width + column in the stored image; (B, H, W) bool, true where it is outside.
        """
        radians = (self.degrees * (math.pi / 180))[:, None, None]
        cosine, sine = radians.cos(), radians.sin()
        mirror = torch.where(self.flipped, -1.0, 1.0)[:, None, None]
        x = torch.arange(width) - (width - 1) / 2  # from the centre
        y = (torch.arange(height) - (height - 1) / 2)[:, None]
        right, down = (((shift - PADDING).float())[:, None, None] for shift in (self.left, self.top))
        # Backwards, from the finished picture to the stored one: turn, mirror, shift.
        column = (x * (mirror * cosine) + (right + (width - 1) / 2 - y * (mirror * sine))).round_()
        row = (x * sine + (down + (height - 1) / 2 + y * cosine)).round_()
        # What the crop left out stays out, even if the rotation would bring it back.
        nearest_column = torch.clamp(column, right.clamp(min=0), width - 1 + right.clamp(max=0))
        nearest_row = torch.clamp(row, down.clamp(min=0), height - 1 + down.clamp(max=0))
        outside = (nearest_column != column).logical_or_(nearest_row != row)
        return nearest_row.mul_(width).add_(nearest_column).long(), outside


class ImageStore:
    """Images in memory, each pixel one number, so that pixels can be gathered.

    Shapes: images (M, H, W, C) uint8 with 1 or 3 channels.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        count, self.height, self.width, self.channels = images.shape
        bytes_each = 1 if self.channels == 1 else 4  # three channels and a spare byte make one 32-bit number
        flat = torch.zeros((count * self.height * self.width + 1, bytes_each), dtype=torch.uint8)
        flat[:-1, : self.channels] = torch.from_numpy(images).reshape(-1, self.channels)
        self._pixels = flat.view(torch.uint8 if bytes_each == 1 else torch.int32)[:, 0]
        self._black = len(flat) - 1  # a black pixel after the last image stands for all that is outside

    def take(self, rows: Tensor, moves: Moves | None = None) -> Tensor:
        """Some of the images, moved.

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
        store: images; several splits may share it.
        labels: (M,) int64 class of each.
        which: (N,) int64 rows that make up this split.
        preparation: from images to tokens.
        augment: whether every batch moves its images (see `Moves`).

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
        """The same images, never moved."""
        same = copy.copy(self)
        same._augment = False
        return same

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """The images of these indices as tokens.

        Shapes: inputs (B, T, F) float32, targets (B,) int64; every image has T tokens.

        Args:
            indices: which examples.
            generator: draws how each image is moved, where the split is augmented.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        moves = Moves.draw(len(chosen), generator) if self._augment else None
        images = self._store.take(self._which[chosen], moves)
        return Batch(self._preparation.tokens(images), self._targets[chosen])
