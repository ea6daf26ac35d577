"""The control: an architecture whose weights were never trained."""

from __future__ import annotations

from fptkit.backbones.assemble import RandomDraw, Request, assemble, family_named
from fptkit.backbones.options import RandomOptions
from fptkit.interfaces import Backbone


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
    return draw_random(options.like, as_draw(options, positions, seed))


def as_draw(options: RandomOptions, positions: int, seed: int) -> RandomDraw:
    """The draw that recipe options describe; arguments as `build_random`."""
    return RandomDraw(
        options.size,
        positions,
        seed,
        blocks=options.blocks,
        width=options.width,
        heads=options.heads,
        rows=options.positions,
        init=options.init,
        dropout=options.dropout,
        attention_dropout=options.attention_dropout,
    )


def draw_random(like: str, draw: RandomDraw) -> Backbone:
    """Draw a model.

    Args:
        like: name of the backbone whose architecture it has.
        draw: its sizes, and how it is drawn.

    Raises:
        ShapeError: the architecture has no such size, or takes none of the numbers given.
    """
    family = family_named(like)
    assert family is not None, f"no family of backbones is called {like}"  # the options name known ones only
    backbone: Backbone = assemble(family.random(draw), Request(draw.positions, draw.seed, init=draw.init))
    return backbone
