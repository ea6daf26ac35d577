"""Fewer builds for `fptkit.testing.check_backbone`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeVar

from fptkit.interfaces import Backbone

Built = TypeVar("Built", bound=Backbone)


def in_turn(build: Callable[[int], Built]) -> Callable[[int], Built]:
    """A function that builds two backbones for each number of positions, and then returns them in turn.

    Loading takes most of the time of a check, which compares the first two builds, and needs no more than fresh
    gradients of the later ones.
    """
    stock: dict[int, list[Built]] = {}
    turns = itertools.count()

    def built(positions: int) -> Built:
        made = stock.setdefault(positions, [])
        if len(made) < 2:
            made.append(build(positions))
            return made[-1]
        backbone = made[next(turns) % 2]
        backbone.zero_grad(set_to_none=True)
        return backbone

    return built
