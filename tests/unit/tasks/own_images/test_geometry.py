"""Pictures in one size, compared with torchvision and with Pillow's ImageOps."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import v2

from fptkit.tasks.own_images.geometry import fitted

WHITE = (255, 255, 255)


def smooth(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 / width, y * 255 / height, 0 * x + 60], -1).astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(100, 80), (30, 90), (64, 64), (17, 200)])
def test_crop_is_the_centre_of_the_scaled_picture(width: int, height: int) -> None:
    picture = smooth(width, height)
    found = np.asarray(fitted(picture, (32, 32), "crop", WHITE)).astype(int)
    assert np.array_equal(found, np.asarray(ImageOps.fit(picture, (32, 32), Image.Resampling.BILINEAR)))
    by_torchvision = v2.Compose([v2.Resize(32, antialias=True), v2.CenterCrop(32)])(picture)
    assert np.abs(found - np.asarray(by_torchvision)).max() <= 6


@pytest.mark.parametrize("size", [(16, 16), (8, 40), (50, 30)])
def test_stretch_is_torchvisions_resize(size: tuple[int, int]) -> None:
    picture = smooth(45, 33)
    expected = v2.Resize(size, antialias=True)(picture)
    assert np.array_equal(np.asarray(fitted(picture, size, "stretch", WHITE)), np.asarray(expected))


@pytest.mark.parametrize(("width", "height"), [(100, 50), (50, 100), (7, 3), (9, 31)])
def test_pad_keeps_all_and_fills_the_rest(width: int, height: int) -> None:
    picture = Image.new("RGB", (width, height), (10, 20, 30))
    found = fitted(picture, (20, 20), "pad", (200, 0, 0))
    expected = ImageOps.pad(picture, (20, 20), Image.Resampling.BILINEAR, color=(200, 0, 0))
    assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize(("width", "height"), [(30, 30), (10, 30), (30, 10), (8, 8), (20, 20)])
def test_without_scaling(width: int, height: int) -> None:
    picture = smooth(width, height)
    found = fitted(picture, (20, 20), "none", (1, 2, 3))
    frame = np.full((60, 60, 3), (1, 2, 3), np.uint8)
    top, left = (60 - height) // 2, (60 - width) // 2
    frame[top : top + height, left : left + width] = np.asarray(picture)
    assert np.array_equal(np.asarray(found), frame[20:40, 20:40])


def test_grey_is_filled_with_grey() -> None:
    found = fitted(Image.new("L", (4, 4), 7), (8, 8), "none", (255, 255, 255))
    assert np.asarray(found)[0, 0] == 255
    assert np.asarray(found)[4, 4] == 7


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad", "none"])
@pytest.mark.parametrize("size", [(1, 2_000_000), (2_000_000, 1), (1, 1), (3, 2)])
def test_long_thin_pictures_take_no_memory(resize: str, size: tuple[int, int]) -> None:
    found = fitted(Image.new("RGB", size, (5, 6, 7)), (16, 24), resize, WHITE)
    assert found.size == (24, 16)
