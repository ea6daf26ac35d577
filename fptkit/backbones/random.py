"""The control: an architecture whose weights were never trained."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from fptkit.backbones.options import RandomOptions
from fptkit.interfaces import Backbone

_DRAWN_BY = {
    "gpt2": "fptkit.backbones.gpt2_build:random_gpt2",
    "vit": "fptkit.backbones.vit.build:random_vit",
    "lstm": "fptkit.backbones.lstm.build:random_lstm",
    "bert": "fptkit.backbones.huggingface.build:random_bert",
    "t5_encoder": "fptkit.backbones.huggingface.build:random_t5_encoder",
    "longformer": "fptkit.backbones.huggingface.build:random_longformer",
}
"""As text: only the architecture that is drawn is imported."""


def build_random(options: RandomOptions, *, positions: int, seed: int, pinned: str | None = None) -> Backbone:
    """Build the architecture ``options.like`` with random weights.

    Args:
        options: recipe options; given sizes replace those of ``options.size``.
        positions: T, the task's longest example in tokens.
        seed: of the draw.
        pinned: not used, there is one source only.

    Raises:
        ShapeError: the architecture has no such size, or takes none of the numbers given.
    """
    module, _, function = _DRAWN_BY[options.like].partition(":")
    draw: Callable[..., Backbone] = getattr(importlib.import_module(module), function)
    further: dict[str, Any] = {} if options.positions is None else {"rows": options.positions}
    return draw(
        size=options.size,
        blocks=options.blocks,
        width=options.width,
        heads=options.heads,
        positions=positions,
        seed=seed,
        init=options.init,
        dropout=options.dropout,
        attention_dropout=options.attention_dropout,
        **further,
    )
