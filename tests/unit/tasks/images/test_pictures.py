"""Pictures as they are seen: every format, transparency, orientation, and what is refused, with PIL as the writer."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fptkit.errors import DataError
from fptkit.tasks.images.pictures import MOST_PIXELS, Picture, header, in_threads, is_picture, read_picture


def gradient(width: int = 12, height: int = 8) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 20, y * 30, x * 0 + 90], -1).astype(np.uint8))


def saved(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


def pixels(found: Picture) -> np.ndarray:
    return np.asarray(found.image)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "QOI", "WEBP"])
def test_formats_without_loss_give_their_pixels_whatever_the_name_is(tmp_path: Path, form: str) -> None:
    path = saved(gradient(), tmp_path / "odd.jpg", format=form, **({"lossless": True} if form == "WEBP" else {}))
    assert np.array_equal(pixels(read_picture(path)), np.asarray(gradient()))
    assert np.array_equal(pixels(read_picture(path.read_bytes(), "x")), np.asarray(gradient()))
    assert is_picture(path)


@pytest.mark.parametrize("form", ["JPEG", "GIF", "JPEG2000", "AVIF"])
def test_formats_with_loss_come_close(tmp_path: Path, form: str) -> None:
    path = saved(Image.new("RGB", (16, 16), (200, 40, 90)), tmp_path / "picture", format=form)
    assert np.abs(pixels(read_picture(path)).astype(int) - (200, 40, 90)).max() <= 8
    assert is_picture(path)


@pytest.mark.parametrize("form", ["EPS", "PDF", "ICO", "TGA", "PCX", "ICNS"])
def test_other_formats_are_refused_even_if_their_name_is_png(tmp_path: Path, form: str) -> None:
    path = saved(Image.new("RGB", (16, 16)), tmp_path / "x.png", format=form)
    with pytest.raises(DataError, match=r"x\.png: not readable as a picture: it begins with"):
        read_picture(path)
    assert not is_picture(path)


def over(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """The definition of "over": each channel weighted by alpha."""
    alpha = rgba[..., 3:].astype(float) / 255
    return rgba[..., :3] * alpha + np.array(background) * (1 - alpha)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
def test_transparent_pixels_show_the_background(tmp_path: Path, background: tuple[int, int, int]) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    found = read_picture(saved(Image.fromarray(rgba), tmp_path / "x.png"), background=background)
    assert np.abs(pixels(found) - over(rgba, background)).max() <= 1
    assert found.transparent
    assert not found.vanished


def test_transparency_of_palettes_grey_and_single_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 250, 0, 0])
    palette.putpixel((2, 2), 0)
    grey = Image.merge("LA", (Image.new("L", (4, 4), 30), Image.new("L", (4, 4), 0)))
    for name, picture, options in (
        ("palette", palette, {"transparency": 1}),
        ("bytes", palette, {"transparency": b"\xff\x00"}),
        ("grey", grey, {}),
        ("key", Image.new("RGB", (4, 4), (1, 2, 3)), {"transparency": (1, 2, 3)}),
        ("level", Image.new("L", (4, 4), 9), {"transparency": 9}),
    ):
        found = read_picture(saved(picture, tmp_path / f"{name}.png", **options), background=(7, 8, 9))
        assert pixels(found)[0, 0].tolist() == [7, 8, 9], name
        assert found.transparent, name
    gif = read_picture(saved(palette, tmp_path / "x.gif", transparency=1), background=(7, 8, 9))
    assert pixels(gif)[0, 0].tolist() == [7, 8, 9]


def test_white_over_white_vanishes_and_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    white = np.full((6, 6, 4), 255, np.uint8)
    white[:2, ..., 3] = 0
    assert read_picture(saved(Image.fromarray(white), tmp_path / "w.png")).vanished
    opaque = gradient().convert("RGBA")
    found = read_picture(saved(opaque, tmp_path / "o.png"))
    assert not found.transparent
    assert np.array_equal(pixels(found), np.asarray(gradient()))


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.fliplr(np.rot90(a, -1)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.fliplr(np.rot90(a, 1)),
    8: lambda a: np.rot90(a, 1),
}
"""What each EXIF orientation means. Source: EXIF 2.3, tag 0x0112."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_orientation(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(gradient(), tmp_path / f"x.{ending}", exif=exif)
    assert np.array_equal(pixels(read_picture(path)), TURNS[orientation](np.asarray(gradient())))


def test_a_damaged_exif_block_is_ignored(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (16, 8), (9, 9, 9)), tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    [found] = in_threads(read_picture, [path])
    assert found.image.size == (16, 8)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    path = tmp_path / "x"
    frames[0].save(path, format=form, save_all=True, append_images=frames[1:])
    found = read_picture(path)
    assert found.animated
    assert np.abs(pixels(found)[3, 3].astype(int) - (250, 0, 0)).max() <= 8


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.full((4, 4), 3000, np.uint16), "I"),
        (np.full((4, 4), 0.5, np.float32), "F"),
        (np.full((4, 4), 70000, np.int32), "I"),
    ],
)
def test_more_than_eight_bits_are_refused_and_not_cut(tmp_path: Path, array: np.ndarray, mode: str) -> None:
    path = saved(Image.fromarray(array), tmp_path / "deep.tif")
    with pytest.raises(DataError, match=rf"deep\.tif: a picture with more than 8 bits per pixel \(mode {mode}"):
        read_picture(path)


def test_cmyk_and_grey(tmp_path: Path) -> None:
    cmyk = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "c.jpg", quality=95)
    assert np.abs(pixels(read_picture(cmyk))[3, 3].astype(int) - (255, 0, 0)).max() <= 3
    found = read_picture(saved(gradient(), tmp_path / "g.png"), colour="L")
    assert found.image.mode == "L"
    red, green, blue = np.moveaxis(np.asarray(gradient()).astype(float), -1, 0)
    assert np.abs(pixels(found) - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 1
    assert pixels(read_picture(saved(Image.new("1", (4, 4), 1), tmp_path / "b.png"))).tolist() == [[[255] * 3] * 4] * 4


def claimed(width: int, height: int) -> bytes:
    """A small PNG whose header claims a size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0" * 64)
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, body)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(MOST_PIXELS + 1, 1), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_small_file_that_claims_a_large_picture(size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(DataError, match="x: too large"):
            read_picture(claimed(*size), "x")


def test_pictures_cut_anywhere_or_with_a_wrong_byte_never_raise_anything_else(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    noisy = Image.fromarray(chance.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    said = []
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "QOI"):
        file = io.BytesIO()
        noisy.save(file, form)
        whole = file.getvalue()
        cuts = [whole[:length] for length in chance.integers(0, len(whole), 15)]
        for _ in range(25):
            changed = bytearray(whole)
            changed[chance.integers(0, min(len(whole), 200))] = chance.integers(0, 256)
            cuts.append(bytes(changed))
        for content in cuts:
            try:
                in_threads(lambda item: read_picture(item, "x"), [content])
            except DataError as err:
                said.append(str(err))
    assert len(said) > 100
    assert all(text.startswith("x: ") and "\n" not in text for text in said)


def test_files_that_are_no_picture(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html></html>")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    for name, said in (
        ("page.jpg", "it begins with '<!DOCTYPE ht', which is none of avif"),
        ("empty.png", "the file is empty"),
        ("pipe.png", "not a file, but a folder, pipe or device"),
        ("absent.png", "there is no such file"),
    ):
        with pytest.raises(DataError, match=said):
            read_picture(tmp_path / name)


def test_all_faults_are_counted_and_the_first_named(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(DataError) as found:
        in_threads(read_picture, sorted(tmp_path.iterdir()))
    lines = [line.split(":")[0] for line in str(found.value).splitlines()]
    assert lines == [*(str(tmp_path / f"{number}.png") for number in range(3)), "... and 3 more"]


def test_header(tmp_path: Path) -> None:
    assert header(saved(gradient(), tmp_path / "x.png")) == ((8, 12), "RGB")
    (tmp_path / "y.png").write_text("no")
    assert header(tmp_path / "y.png") is None
