"""Examples as they are saved: the right form for each kind, and bounded in size."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from fptkit.engine.assessment.contents import CELLS, CHANNELS, CHARACTERS, SIDE, STEPS, SYMBOLS, content_of, tokens_of
from fptkit.engine.assessment.records import Content
from fptkit.interfaces import Grid, Mixed, Shown, Symbols, Vectors


def pixels_of(content: Content) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content.picture))))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_a_picture_is_saved_as_it_is(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = content_of(Shown(picture=picture))
    assert (pixels_of(found) == picture.squeeze(-1) if shape[-1] == 1 else pixels_of(found) == picture).all()
    assert found.size == (7, 5)


def test_a_large_picture_is_made_smaller() -> None:
    found = content_of(Shown(picture=np.zeros((400, 200, 3), np.uint8)))
    assert pixels_of(found).shape == (SIDE, SIDE // 2, 3)
    assert found.size == (200, 400)


def test_a_series_is_averaged_where_it_is_long() -> None:
    values = np.arange(1000.0)[:, None].repeat(6, 1)
    values[:5, 0] = np.nan
    found = content_of(Shown(series=values, channels=tuple("abcdef")))
    assert (len(found.series), found.channels) == (CHANNELS, ("a", "b", "c", "d"))
    assert found.series[0][:2] == (None, 7.0)  # the mean of 5 to 9
    assert len(found.series[0]) == STEPS
    assert found.length == 1000


def test_texts_symbols_and_rows_are_cut() -> None:
    assert len(content_of(Shown(text="a" * 10_000)).text) == CHARACTERS
    assert content_of(Shown(text="a" * 10_000)).length == 10_000
    assert content_of(Shown(text="ab")).length == 0
    found = content_of(Shown(symbols=["x" * 500] * 1000))
    assert (len(found.symbols), len(found.symbols[0]), found.length) == (SYMBOLS, 80, 1000)
    row = content_of(Shown(cells={f"column {number}": "y" * 500 for number in range(100)}))
    assert (len(row.cells), len(row.cells[0][1]), row.length) == (CELLS, 80, 100)


def test_characters_that_pages_cannot_have_are_replaced() -> None:
    assert content_of(Shown(text="a\x00b\x1b\n\udcff<")).text == "a·b· ?<"


def test_tokens_of_each_kind() -> None:
    symbols = tokens_of(Symbols(9), torch.tensor([[3, 8, 1]]))
    assert symbols.symbols == ("3", "8", "1")
    bits = tokens_of(Vectors(1), torch.tensor([[[1.0], [-1.0], [0.0]]]))
    assert bits.symbols == ("1", "-1", "0")
    series = tokens_of(Vectors(2), torch.tensor([[[1.0, 0.5], [2.0, 0.25]]]))
    assert series.series == ((1.0, 2.0), (0.5, 0.25))
    wide = tokens_of(Vectors(6), torch.arange(24.0).reshape(1, 4, 6))
    assert pixels_of(wide).shape == (6, 4)  # tokens from left to right
    assert pixels_of(wide)[0, 0] == 0
    assert pixels_of(wide)[5, 3] == 255
    picture = tokens_of(Grid((2, 3), 3), torch.rand(1, 2, 3, 3))
    assert pixels_of(picture).shape == (2, 3, 3)
    many = tokens_of(Grid((2, 3), 5), torch.rand(1, 2, 3, 5))
    assert pixels_of(many).shape == (2, 3)
    assert all(one.tokens for one in (symbols, bits, series, wide, picture, many))
    mixed = Mixed({"look": Grid((2, 2)), "say": Symbols(5)}, {"say": 3})
    assert tokens_of(mixed, {"look": torch.ones(1, 2, 2, 1), "say": torch.ones(1, 2)}).picture
