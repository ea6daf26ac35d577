"""The control with random weights: an architecture that was never trained."""

from __future__ import annotations

from fptkit.backbones.assemble import RandomDraw, Request, assemble, family_named
from fptkit.backbones.options import RandomOptions
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone


def build_random(options: RandomOptions, *, positions: int, seed: int, pinned: str | None = None) -> Backbone:
    """Build the architecture ``options.like`` with random weights.

    Args:
        options: recipe options; given sizes override those of ``options.size``.
        positions: T, tokens of the task's longest example.
        seed: seed of the initialisation.
        pinned: not used, since there is only one source.

    Raises:
        ShapeError: the architecture has no such size, or does not accept one of the given numbers; or its position
            table is too short for the task.
    """
    return draw_random(options.like, as_draw(options, positions, seed))


def as_draw(options: RandomOptions, positions: int, seed: int) -> RandomDraw:
    """Convert recipe options to a `RandomDraw`; arguments as for `build_random`.

    Raises:
        ShapeError: the options ask for a position table that is too short for the task.
    """
    if options.positions is not None and options.positions < positions:
        raise ShapeError(
            f"backbone.positions is {options.positions}, but the task has up to {positions} tokens; raise it, or leave "
            "it out for a table as long as the task"
        )
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
    """Build a randomly initialised model.

    Args:
        like: name of the backbone that gives the architecture.
        draw: sizes and initialisation.

    Raises:
        ShapeError: the architecture has no such size, or does not accept one of the given numbers.
    """
    family = family_named(like)
    assert family is not None, f"no family of backbones is called {like}"  # the options name known ones only
    backbone: Backbone = assemble(family.random(draw), Request(draw.positions, draw.seed, init=draw.init))
    return backbone
