"""The control: an architecture whose weights were never trained."""

from __future__ import annotations

from dataclasses import replace

from fptkit.backbones.gpt2 import Gpt2Backbone
from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import SIZES, RandomOptions


def build_random(options: RandomOptions, *, positions: int, seed: int, pinned: str | None = None) -> Gpt2Backbone:
    """Build the architecture ``options.like`` with random weights.

    Args:
        options: recipe options; given sizes replace those of ``options.size``.
        positions: T, the task's longest example in tokens.
        seed: of the draw.
        pinned: not used, there is one source only.

    Raises:
        ShapeError: the task is longer than the position table.
    """
    given = {name: getattr(options, name) for name in ("blocks", "width", "heads", "positions")}
    sizes = replace(SIZES[options.size], **{name: value for name, value in given.items() if value is not None})
    return random_gpt2(
        sizes,
        positions=positions,
        seed=seed,
        init=options.init,
        dropout=options.dropout,
        attention_dropout=options.attention_dropout,
    )
