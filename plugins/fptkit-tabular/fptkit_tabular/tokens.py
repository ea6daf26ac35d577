"""Encoding of cells as tokens; the encoding of a column is fitted to training rows only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fptkit.tasks.reading.scaling import moments

Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class NumericColumn:
    """A numeric column, centred and scaled.

    Args:
        name: name of the column.
        mean: mean over training rows.
        deviation: standard deviation over training rows; 1 if all values are equal.
    """

    name: str
    mean: float
    deviation: float

    @classmethod
    def fit(cls, name: str, values: Sequence[float], train: Rows) -> NumericColumn:
        """Fit mean and standard deviation to the training rows; a column without any value there becomes 0."""
        known = np.asarray(values, np.float64)[train]
        known = known[~np.isnan(known)]
        constant = bool(moments(known).constant)
        return cls(name, float(known.mean()) if len(known) else 0.0, 1.0 if constant else float(known.std()))

    def encode(self, values: Sequence[float]) -> NDArray[np.float32]:
        """Encode each cell as its scaled value (0 if missing) and a missing-value flag. Shapes: (N,) -> (N, 2)."""
        numbers = np.asarray(values, np.float64)
        missing = np.isnan(numbers)
        scaled = np.where(missing, 0, (numbers - self.mean) / self.deviation)
        return np.stack([scaled, missing], axis=1).astype(np.float32)


@dataclass(frozen=True)
class CategoricalColumn:
    """A categorical column.

    Args:
        name: name of the column.
        categories: the distinguished categories, most frequent first; all others share one further entry.
    """

    name: str
    categories: tuple[str, ...]

    @classmethod
    def fit(cls, name: str, cells: Sequence[str], train: Rows, missing: Sequence[str], limit: int) -> CategoricalColumn:
        """Fit the ``limit`` most frequent categories of the training rows; ties are broken by name."""
        counts = Counter(cells[row] for row in train if cells[row] not in missing)
        return cls(name, tuple(sorted(counts, key=lambda cell: (-counts[cell], cell))[:limit]))

    @property
    def width(self) -> int:
        """Numbers per cell: missing-value flag, the categories, and one for all others."""
        return 2 + len(self.categories)

    def encode(self, cells: Sequence[str], missing: Sequence[str]) -> NDArray[np.float32]:
        """Encode each cell as a one-hot vector. Shapes: (N,) -> (N, width)."""
        place = {category: 1 + number for number, category in enumerate(self.categories)}
        other = 1 + len(self.categories)
        columns = [0 if cell in missing else place.get(cell, other) for cell in cells]
        return np.eye(self.width, dtype=np.float32)[columns]


Column: TypeAlias = NumericColumn | CategoricalColumn


def token_width(columns: Sequence[Column], identity: bool) -> int:
    """Return F: value, missing-value flag, categories of the widest column, and with ``identity`` one per column."""
    categories = max((column.width - 1 for column in columns if isinstance(column, CategoricalColumn)), default=0)
    return 2 + categories + (len(columns) if identity else 0)


def make_tokens(
    columns: Sequence[Column],
    encoded: Sequence[NDArray[np.float32]],
    *,
    identity: bool,
) -> NDArray[np.float32]:
    """Combine the encoded columns into tokens, one per cell.

    Shapes: encoded, for each of T columns (N, 2) or (N, width) -> (N, T, F).

    Args:
        columns: the T columns.
        encoded: their encoded cells.
        identity: whether tokens have a one-hot vector of their column.
    """
    width = token_width(columns, identity)
    tokens = np.zeros((len(encoded[0]), len(columns), width), np.float32)
    for place, (column, numbers) in enumerate(zip(columns, encoded, strict=True)):
        if isinstance(column, NumericColumn):
            tokens[:, place, :2] = numbers
        else:
            tokens[:, place, 1] = numbers[:, 0]
            tokens[:, place, 2 : 1 + column.width] = numbers[:, 1:]
        if identity:
            tokens[:, place, width - len(columns) + place] = 1
    return tokens
