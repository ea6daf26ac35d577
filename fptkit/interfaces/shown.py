"""An example in a form for people, as reports show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shown:
    """An example in a form for people. One of the fields has its content; ``name`` and ``channels`` go with it.

    Reports cut long texts and series, and make large pictures smaller.

    Args:
        name: what it is called: ``FILE:LINE``, a path; empty if it has no name.
        picture: (H, W) or (H, W, C) uint8, with C 1 (grey) or 3 (red, green, blue).
        series: (T, C) numbers; NaN for missing ones.
        channels: names of the C channels of a series; empty if they have none.
        text: a text, or a sequence with one letter per symbol.
        symbols: symbols of several letters each.
        cells: a row of a table, by column.

    Example:
        >>> import fptkit
        >>> fptkit.Shown("proteins.fa:2", text="ACGT").text
        'ACGT'
    """

    name: str = ""
    picture: NDArray[np.uint8] | None = None
    series: NDArray[np.floating] | None = None
    channels: tuple[str, ...] = ()
    text: str = ""
    symbols: Sequence[str] = ()
    cells: Mapping[str, str] = field(default_factory=dict)
