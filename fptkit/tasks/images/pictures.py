"""One picture file as pixels: formats by content, transparency, orientation, what is refused.

Only formats of a fixed list are decoded, so that no file can start another program (Ghostscript for EPS) or be taken
for something else by its name.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fptkit.errors import DataError
from fptkit.sources.decoding import check_regular, decoding

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""Pillow's names of the formats that are decoded, if this Pillow can."""

MOST_PIXELS = 89_478_485
"""Pixels above which a picture is refused, since a small file may claim any size. Source: Pillow's own limit."""

WHITE = (255, 255, 255)

_MOST_BYTES = 2**30

_SHOWN = 3
"""Faults that one message has."""

_CHUNK = 16
"""Pictures that a thread decodes at a time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Picture:
    """A picture that was read.

    Args:
        image: the picture, as it is seen: in mode ``L`` or ``RGB``, turned, and over the background.
        transparent: whether some of its pixels are not opaque.
        vanished: whether nothing but one colour is left of it over the background.
        animated: whether the file has further frames, which are not read.
    """

    image: Image
    transparent: bool = False
    vanished: bool = False
    animated: bool = False


def picture_notes(pictures: Sequence[Picture]) -> tuple[str, ...]:
    """Notes about pictures whose files have more than is seen."""
    return fact_notes(sum(p.transparent for p in pictures), sum(p.animated for p in pictures), "white")


def fact_notes(transparent: int, animated: int, background: str) -> tuple[str, ...]:
    """Notes about numbers of pictures with transparent pixels, and with further frames."""
    notes = []
    if transparent:
        notes.append(f"{transparent:,} pictures have transparent pixels, which show the background, {background}")
    if animated:
        notes.append(f"{animated:,} pictures are animated or have several pages; only the first one is read")
    return tuple(notes)


def read_picture(
    source: Path | bytes, where: str = "", *, colour: str = "RGB", background: tuple[int, int, int] = WHITE
) -> Picture:
    """Read a picture; of an animation, the first frame. Call it by `in_threads`.

    Args:
        source: the file, or its content.
        where: what to call it in messages; empty for the path.
        colour: ``RGB``, or ``L`` for grey.
        background: red, green and blue of the colour behind transparent pixels.

    Raises:
        DataError: it cannot be decoded completely, is too large, or has more than 8 bits per channel.
    """
    from PIL import Image, UnidentifiedImageError

    where = where or str(source)
    if isinstance(source, Path):
        _check_file(source, where)
    try:
        with decoding(where, "a picture", advice="replace or remove the file"):
            opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats())
    except DataError as err:
        if isinstance(err.__cause__, UnidentifiedImageError):
            raise DataError(f"{where}: not readable as a picture: {_begin(source)}") from err
        if isinstance(err.__cause__, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
            raise _too_large(where, str(err.__cause__)) from err
        raise
    with opened:
        _check_form(opened, where)
        with decoding(where, "a picture", advice="replace or remove the file"):
            opened.load()
            animated = opened.format != "MPO" and bool(getattr(opened, "is_animated", False))
            return _as_seen(_turned(opened), colour, background, animated)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Call a function that decodes for each item, in several threads; decoding releases the interpreter lock.

    Pillow's warnings, about oddities that do not change the pixels, are not shown.

    Raises:
        DataError: it was raised for some items; the message has the first of them.
    """

    def attempt(item: Item) -> Result | DataError:
        try:
            return function(item)
        except DataError as err:
            return err

    def attempt_all(some: Sequence[Item]) -> list[Result | DataError]:
        return [attempt(item) for item in some]

    # Several at a time: a small picture is decoded faster than a thread is given work.
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]

    # Filters of warnings are global, so they are set before the threads start.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        found = [entry for some in pool.map(attempt_all, chunks) for entry in some]
    faults = [entry for entry in found if isinstance(entry, DataError)]
    if faults:
        others = f"\n... and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        raise DataError("\n".join(map(str, faults[:_SHOWN])) + others) from faults[0]
    return [entry for entry in found if not isinstance(entry, DataError)]


def _formats() -> list[str]:
    """The formats of the list that this Pillow has."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _check_file(path: Path, where: str) -> None:
    check_regular(path, name=where)
    if path.is_file() and path.stat().st_size > _MOST_BYTES:  # some decoders read the whole file at once
        raise DataError(f"{where}: a file of {path.stat().st_size:,} bytes is no picture of a data set; remove it")


def _check_form(picture: Image, where: str) -> None:
    mode, (width, height) = picture.mode, picture.size
    if width * height > MOST_PIXELS:
        raise _too_large(where, f"{width} x {height}")
    if mode[0] in "IF":  # Pillow would cut its values at 255
        raise DataError(
            f"{where}: a picture with more than 8 bits per pixel (mode {mode}), expected 8 bits per channel; scale its "
            "values and save it again, or use the task arrays"
        )
    if mode in ("LAB", "HSV"):
        raise DataError(f"{where}: a picture in the colours {mode}; save it in RGB")


def _too_large(where: str, size: str) -> DataError:
    return DataError(f"{where}: too large ({size} pixels; at most {MOST_PIXELS:,} are read); make it smaller")


def _begin(source: Path | bytes) -> str:
    """Why content is not a picture, from how it begins."""
    content = source[:32] if isinstance(source, bytes) else _first_bytes(source)
    if not content:
        return "the file is empty; replace or remove it"
    text = content.decode("latin-1")
    shown = repr(text[:12]) if text[:12].isprintable() else content[:8].hex(" ")
    return f"it begins with {shown}, which is none of {', '.join(map(str.lower, FORMATS))}; convert or remove it"


def _first_bytes(path: Path, count: int = 32) -> bytes:
    try:
        with decoding(path, "a picture"), path.open("rb") as file:
            return file.read(count)
    except DataError:  # a pipe, or not readable
        return b""


def is_picture(path: Path) -> bool:
    """Whether a file begins like a picture of one of the `FORMATS`, whatever its name is."""
    begin = _first_bytes(path)
    return (
        begin.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"qoif", b"\0\0\0\x0cjP  "))
        or (begin[:4] == b"RIFF" and begin[8:12] == b"WEBP")
        or (begin[4:8] == b"ftyp" and begin[8:12] in (b"avif", b"avis"))
        or (begin[:1] == b"P" and begin[1:2] in b"123456" and begin[2:3].isspace())
    )


def _turned(picture: Image) -> Image:
    """The picture as its EXIF orientation says; a damaged EXIF block says nothing."""
    from PIL import ImageOps

    with contextlib.suppress(DataError), decoding("EXIF", "a block of EXIF"):
        return ImageOps.exif_transpose(picture)
    return picture


def _on_its_side(picture: Image) -> bool:
    """Whether the EXIF orientation exchanges height and width."""
    from PIL import ExifTags

    with contextlib.suppress(DataError), decoding("EXIF", "a block of EXIF"):
        return picture.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return False


def _as_seen(picture: Image, colour: str, background: tuple[int, int, int], animated: bool) -> Picture:
    from PIL import Image

    if not _has_alpha(picture):
        return Picture(picture.convert(colour), animated=animated)
    layered = picture.convert("RGBA")
    if layered.getchannel("A").getextrema() == (255, 255):
        return Picture(layered.convert(colour), animated=animated)
    seen = Image.alpha_composite(Image.new("RGBA", layered.size, (*background, 255)), layered).convert("RGB")
    extrema: Any = seen.getextrema()
    return Picture(seen.convert(colour), True, all(low == high for low, high in extrema), animated)


def _has_alpha(picture: Image) -> bool:
    return picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info


def header(path: Path) -> tuple[tuple[int, int], str] | None:
    """Size as (height, width), as it is seen, and mode of a picture; None if it cannot be opened. Decodes no pixels."""
    from PIL import Image

    try:
        with decoding(path, "a picture"), Image.open(path, formats=_formats()) as picture:
            size = (picture.height, picture.width)
            return (size[::-1] if _on_its_side(picture) else size), picture.mode
    except DataError:
        return None
