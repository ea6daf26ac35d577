"""Simulated images of ten classes, textured shapes: a fallback (stand-in) if no photographs are available.

A class is a pair: one of five shapes (disc, triangle, square, star, cross) filled with one of two textures (stripes,
checks). Shapes of one size cover the same area. Position, size and rotation of the shape, period, phase and direction
of the texture, and all colours are random and independent of the class. The background has a fainter texture of the
same kinds, and all pixels have noise. So the class cannot be read from the mean colour or from single pixels: a linear
classifier on pixels is near chance, while both shape and texture are local patterns that a small vision model learns.
Unlike photographs, the images have no perspective, no occlusion, no natural statistics and only one object. Results on
them are not comparable with published ones.

The same options give the same images: all randomness comes from the raw 64-bit output of PCG64, which NumPy guarantees.
Sines and angles are float32 and may differ in the last bit between maths libraries, so a pixel may differ by one grey
level between machines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fptkit.seeds import derive_seed
from fptkit.tasks.images.options import SimulatedImageOptions

Floats = NDArray[np.float32]

SHAPES = ("disc", "triangle", "square", "star", "cross")
TEXTURES = ("stripes", "checks")
CLASSES = tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)
"""Names by label: the label is ``2 * shape + texture``."""

SPLITS = ("train", "validation", "test")

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in the brightness of a colour (ITU-R BT.601)."""

_BLOCK = 250  # images rendered at once: fits into the CPU cache, and makes smaller splits prefixes of larger ones

_STAR_INNER = 0.45  # inner radius of the star, as a fraction of the outer one
_CROSS_ARM = 0.36  # half the width of an arm of the cross, as a fraction of its half length


def simulate(options: SimulatedImageOptions) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Render all splits.

    Labels are balanced to within one in each block of images. A smaller split is a prefix of a larger one of the same
    seed.

    Shapes: images (N, H, W, C) in 0 ... 255, labels (N,) in 0 ... 9.

    Args:
        options: seed, sizes and noise.

    Returns:
        (images, labels) by split: ``train``, ``validation``, ``test``.
    """
    sizes: Mapping[str, int] = {
        "train": options.train,
        "validation": options.validation,
        "test": options.test,
    }
    return {name: _render_split(name, size, options) for name, size in sizes.items()}


def _render_split(name: str, size: int, options: SimulatedImageOptions) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    side = options.image_size
    images = np.empty((size, side, side, options.channels), np.uint8)
    labels = np.empty(size, np.int64)
    for start in range(0, size, _BLOCK):
        chance = _Chance(derive_seed(options.seed, "images", name, start))
        answers = chance.order(_BLOCK) % len(CLASSES)
        end = min(start + _BLOCK, size)
        images[start:end] = _render(answers, chance, options)[: end - start]
        labels[start:end] = answers[: end - start]
    return images, labels


class _Chance:
    """Random numbers from the raw output of PCG64.

    The methods of `numpy.random.Generator` may change between versions of NumPy; its bit generators may not (NEP 19).
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def uniform(self, low: float, high: float, count: int) -> Floats:
        """Return (count,) uniform numbers from ``low`` to ``high``."""
        return (low + (high - low) * (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53).astype(np.float32)

    def order(self, count: int) -> NDArray[np.int64]:
        """Return a random permutation of ``count`` indices."""
        return np.argsort(self._bits.random_raw(count), kind="stable")

    def bell(self, shape: tuple[int, ...]) -> Floats:
        """Return numbers with mean 0 and standard deviation 1: sums of four bytes, nearly normal and much faster."""
        count = math.prod(shape)
        words = self._bits.random_raw(-(-count // 2)).astype("<u8", copy=False).view("<u4")[:count]
        pairs = (words & 0xFF00FF) + (words >> 8 & 0xFF00FF)  # two sums of two bytes in each word
        sums = (pairs & 0xFFFF) + (pairs >> 16)
        return ((sums.astype(np.float32) - 510.0) / 147.8).reshape(shape)  # a byte's standard deviation is 73.9


def _render(labels: NDArray[np.int64], chance: _Chance, options: SimulatedImageOptions) -> NDArray[np.uint8]:
    """Shapes: labels (N,) -> (N, H, W, C)."""
    count, side = len(labels), options.image_size
    unit = side / 32  # lengths below are given in pixels of an image of 32
    shape_of, texture_of = labels // len(TEXTURES), labels % len(TEXTURES)

    radius = chance.uniform(7.0, 11.0, count) * unit
    centre_x, centre_y = (chance.uniform(0, 1, count) * (side - 2 * radius) + radius - 0.5 for _ in range(2))
    pixels = np.arange(side, dtype=np.float32)
    x = np.broadcast_to(pixels[None, None, :] - centre_x[:, None, None], (count, side, side))
    y = np.broadcast_to(pixels[None, :, None] - centre_y[:, None, None], (count, side, side))

    turn = chance.uniform(0, 2 * np.pi, count)
    outside = np.empty((count, side, side), np.float32)  # distance outside the shape's edge, in pixels
    for index, distance in enumerate((_disc, _triangle, _square, _star, _cross)):
        some = shape_of == index
        along, across = _turned(x[some], y[some], turn[some])
        scale = radius[some, None, None]
        outside[some] = distance(along / scale, across / scale) * scale
    cover = np.clip(0.5 - outside, 0, 1)[..., None]  # (N, H, W, 1): the fraction of each pixel inside the shape

    filling = _texture(x, y, texture_of, chance.uniform(3.5, 6.0, count) * unit, chance)
    ground = _texture(x, y, (chance.uniform(0, 2, count)).astype(np.int64), chance.uniform(5, 14, count) * unit, chance)
    dark, light = _colours(chance, count, 0.35, 0.6, options.channels)
    inside = dark + (light - dark) * filling
    dark, light = _colours(chance, count, 0.0, 0.25, options.channels)
    image = dark + (light - dark) * ground
    image += cover * (inside - image)
    image += chance.bell(image.shape) * np.float32(options.noise / 255)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _turned(x: Floats, y: Floats, angle: Floats) -> tuple[Floats, Floats]:
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return x * cosine + y * sine, y * cosine - x * sine


# Distances to the edge, negative inside. Each shape has the area of a disc of radius 1, so that size is no clue.


def _disc(x: Floats, y: Floats) -> Floats:
    return np.hypot(x, y) - 1


def _polygon(corners: int, x: Floats, y: Floats) -> Floats:
    sector = 2 * math.pi / corners
    inner = math.sqrt(math.pi / (corners * math.tan(math.pi / corners)))  # radius of the circle inside it
    angle = np.mod(np.arctan2(y, x), sector) - sector / 2
    return (np.hypot(x, y) * np.cos(angle) - inner).astype(np.float32, copy=False)


def _triangle(x: Floats, y: Floats) -> Floats:
    return _polygon(3, x, y)


def _square(x: Floats, y: Floats) -> Floats:
    return _polygon(4, x, y)


def _star(x: Floats, y: Floats) -> Floats:
    sector = math.pi / 5  # from a point to the notch beside it
    outer = math.sqrt(math.pi / (5 * _STAR_INNER * math.sin(sector)))
    angle = np.abs(np.mod(np.arctan2(y, x), 2 * sector) - sector)  # 0 at the notch, ``sector`` at the point
    length = np.hypot(x, y)
    along, across = length * np.cos(angle), length * np.sin(angle)
    # The edge runs from the notch (inner, 0) to the point (outer, at angle ``sector``).
    notch, point = outer * _STAR_INNER, (outer * math.cos(sector), outer * math.sin(sector))
    edge = (point[0] - notch, point[1])
    distance = ((along - notch) * edge[1] - across * edge[0]) / math.hypot(*edge)
    return distance.astype(np.float32, copy=False)


def _cross(x: Floats, y: Floats) -> Floats:
    half = math.sqrt(math.pi / (4 * _CROSS_ARM * (2 - _CROSS_ARM)))
    arm = half * _CROSS_ARM
    x, y = np.abs(x), np.abs(y)
    lying, standing = np.maximum(x - half, y - arm), np.maximum(x - arm, y - half)
    distance: Floats = np.minimum(lying, standing)
    return distance


def _texture(x: Floats, y: Floats, kind: NDArray[np.int64], period: Floats, chance: _Chance) -> Floats:
    """Stripes (kind 0) or checks (kind 1) with soft edges and mean 0.5.

    Shapes: x, y (N, H, W), kind (N,), period (N,) in pixels -> (N, H, W, 1) in 0 ... 1.
    """
    count = len(kind)
    along, across = _turned(x, y, chance.uniform(0, np.pi, count))
    pace = (2 * np.pi / period)[:, None, None]
    first = np.sin(along * pace + chance.uniform(0, 2 * np.pi, count)[:, None, None])
    second = np.sin(across * pace + chance.uniform(0, 2 * np.pi, count)[:, None, None])
    wave = np.where((kind == 1)[:, None, None], 2 * first * second, first)
    return np.clip(0.5 + wave, 0, 1)[..., None].astype(np.float32)


def _colours(chance: _Chance, count: int, least: float, most: float, channels: int) -> tuple[Floats, Floats]:
    """Two colours per image that differ in brightness by ``least`` to ``most``, in random order.

    Hue is independent of brightness, so that a grey version of the image shows the same.

    Shapes: (N, 1, 1, C) each.
    """
    contrast = chance.uniform(least, most, count)
    middle = contrast / 2 + chance.uniform(0, 1, count) * (1 - contrast)
    contrast = np.where(chance.uniform(0, 1, count) < 0.5, contrast, -contrast)
    pair = []
    for sign in (-0.5, 0.5):
        brightness = (middle + sign * contrast)[:, None]
        tint = chance.uniform(-0.3, 0.3, 3 * count).reshape(count, 3)
        tint -= (tint @ LUMINANCE)[:, None]
        colour = brightness + (tint if channels == 3 else 0)
        pair.append(np.clip(colour, 0, 1).astype(np.float32)[:, None, None, :])
    return pair[0], pair[1]
