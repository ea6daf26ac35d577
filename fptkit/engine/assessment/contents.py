"""Examples as they are saved for reports: pictures as PNG, short series and texts, or the tokens the model saw."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit.engine.assessment.records import Content
from fptkit.interfaces import Grid, InputKind, Mixed, Shown, Symbols

SIDE = 96
"""Largest side of a saved picture, in pixels."""

CHARACTERS = 600
"""Characters of a saved text."""

SYMBOLS = 400
"""Symbols of a saved sequence."""

STEPS = 200
"""Points of each channel of a saved series; more are averaged."""

CHANNELS = 4
"""Channels of a saved series."""

CELLS = 40
"""Cells of a saved row."""

_CELL = 80
"""Characters of a saved cell or symbol."""

_FEW = 4
"""Different whole numbers up to which tokens of one number are shown as symbols."""


def content_of(shown: Shown, *, tokens: bool = False) -> Content:
    """An example in the form in which it is saved.

    Args:
        shown: the example.
        tokens: whether it is what the model saw.
    """
    if shown.picture is not None:
        return _picture(shown.picture, tokens)
    if shown.series is not None:
        return _series(shown.series, shown.channels, tokens)
    if shown.cells:
        cells = tuple((_short(name), _short(cell)) for name, cell in list(shown.cells.items())[:CELLS])
        return Content(cells=cells, tokens=tokens, length=_cut(len(shown.cells), CELLS))
    if shown.symbols:
        symbols = tuple(map(_short, shown.symbols[:SYMBOLS]))
        return Content(symbols=symbols, tokens=tokens, length=_cut(len(shown.symbols), SYMBOLS))
    return Content(text=_clean(shown.text[:CHARACTERS]), tokens=tokens, length=_cut(len(shown.text), CHARACTERS))


def tokens_of(kind: InputKind, inputs: Any) -> Content:
    """The tokens of one example.

    Args:
        kind: of the inputs.
        inputs: those of a batch of size 1 without padding, on the CPU.
    """
    if isinstance(kind, Mixed):
        name = next((name for name, part in kind.parts.items() if isinstance(part, Grid)), kind.last)
        assert isinstance(inputs, Mapping)
        return tokens_of(kind.parts[name], inputs[name])
    if isinstance(kind, Symbols):
        return content_of(Shown(symbols=list(map(str, inputs[0].tolist()))), tokens=True)
    values = inputs[0].double()
    if isinstance(kind, Grid):
        channels = values if values.shape[-1] in (1, 3) else values[..., :1]
        return content_of(Shown(picture=_bytes(channels)), tokens=True)
    if values.shape[1] == 1 and _few_whole(values):
        return content_of(Shown(symbols=[f"{value:g}" for value in values[:, 0].tolist()]), tokens=True)
    if values.shape[1] <= CHANNELS:
        return content_of(Shown(series=values.numpy()), tokens=True)
    return content_of(Shown(picture=_bytes(values.T[..., None])), tokens=True)  # tokens from left to right


def _few_whole(values: Tensor) -> bool:
    found = values.unique()
    return len(found) <= _FEW and bool((found == found.round()).all())


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    """Numbers as brightness, from the lowest to the highest. Shapes: (H, W, C) -> (H, W, C)."""
    low, high = values.amin(), values.amax()
    scaled = (values - low) / (high - low) if high > low else torch.full_like(values, 0.5)
    pixels: NDArray[np.uint8] = (scaled * 255).round().to(torch.uint8).numpy()
    return pixels


def _picture(pixels: NDArray[np.uint8], tokens: bool) -> Content:
    from PIL import Image  # imported late: most runs have no pictures

    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] != 3 else pixels
    image = Image.fromarray(np.ascontiguousarray(flat))
    size = image.size
    if max(size) > SIDE:
        image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return Content(picture=base64.b64encode(file.getvalue()).decode(), size=size, tokens=tokens)


def _series(values: NDArray[np.floating], names: Sequence[str], tokens: bool) -> Content:
    """A series with at most `STEPS` points in each of `CHANNELS` channels."""
    values = np.asarray(values, np.float64).reshape(len(values), -1)
    each = max(1, math.ceil(len(values) / STEPS))
    kept = tuple(tuple(_averaged(column, each)) for column in values.T[:CHANNELS])
    cut = len(values) if each > 1 else _cut(values.shape[1], CHANNELS)
    return Content(series=kept, channels=tuple(map(_short, names[:CHANNELS])), tokens=tokens, length=cut)


def _averaged(values: NDArray[np.float64], each: int) -> list[float | None]:
    parts = [values[start : start + each] for start in range(0, len(values), each)]
    known = [part[np.isfinite(part)] for part in parts]
    return [float(f"{part.mean():.5g}") if len(part) else None for part in known]


def _cut(whole: int, most: int) -> int:
    return whole if whole > most else 0


def _short(text: object) -> str:
    cleaned = _clean(str(text))
    return cleaned if len(cleaned) <= _CELL else f"{cleaned[: _CELL - 1]}…"


def _clean(text: str) -> str:
    """Text without lone surrogates, which UTF-8 cannot hold, and without control characters, which pages cannot."""
    known = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if letter in "\t\n\r" else letter if letter.isprintable() else "·" for letter in known)
