"""Expressions of Long Range Arena, up to 1,999 symbols, on bodies with short and with long position tables."""

from __future__ import annotations

import pytest
import torch

from fptkit.backbones.adapt import extension_note
from fptkit.backbones.options import PositionOptions, RandomOptions
from fptkit.backbones.random import build_random
from fptkit.errors import ShapeError

TOKENS = 1999


def body(rows: int | None) -> RandomOptions:
    return RandomOptions(like="gpt2", size="nano", blocks=1, width=16, heads=2, positions=rows)


@pytest.mark.parametrize("rows", [None, 1999, 2048])
def test_a_body_with_enough_rows_takes_all_symbols(rows: int | None) -> None:
    backbone = build_random(body(rows), positions=TOKENS, seed=0)
    assert backbone.max_positions == TOKENS
    tokens = torch.randn(1, TOKENS, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = backbone.eval()(tokens)
    assert found.shape == (1, TOKENS, 16)
    assert torch.isfinite(found).all()
    assert not any("position table" in note for note in backbone.notes)


@pytest.mark.parametrize("rows", [1024, 1998])
def test_a_body_with_too_few_rows_says_what_to_do(rows: int) -> None:
    message = rf"backbone\.positions is {rows}, but the task has up to 1999 tokens; raise it, or leave it out"
    with pytest.raises(ShapeError, match=message):
        build_random(body(rows), positions=TOKENS, seed=0)


def test_an_extended_table_is_noted() -> None:
    tile, drawn = PositionOptions(extend="tile"), PositionOptions(extend="interpolate")
    assert extension_note(1024, 1999, tile) == ("the backbone's position table of 1,024 rows is repeated to 1,999",)
    (interpolated,) = extension_note(1024, 1999, drawn)
    assert interpolated.endswith("1,024 rows is interpolated to 1,999")
    assert extension_note(1024, 1024, tile) == extension_note(1024, 64, PositionOptions()) == ()
