"""Batches of expressions as arrays of symbol ids: vectorised evaluation and validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.tasks.listops.grammar import CLOSE_ID, FIRST_OPERATOR, IDS, OPERATORS

Ids = NDArray[np.uint8]
Integers = NDArray[np.int64]

FIRST_DIGIT = IDS["0"]
_MIN, _MAX, _MED, _SM = range(len(OPERATORS))


@dataclass(frozen=True)
class Expressions:
    """N concatenated expressions with S symbols in total.

    Args:
        symbols: (S,) ids in the order of `VOCABULARY`.
        offsets: (N + 1,) start of each expression, then the end of the last.
        values: (N,) value of each expression.
    """

    symbols: Ids
    offsets: Integers
    values: Integers

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lengths(self) -> Integers:
        """Number of symbols of each expression, (N,)."""
        return np.diff(self.offsets)

    def take(self, which: NDArray[Any]) -> Expressions:
        """Return the expressions with these indices, in this order."""
        lengths = self.lengths[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][which] - offsets[:-1], lengths)
        return Expressions(self.symbols[places], offsets, self.values[which])


def join(parts: list[Expressions]) -> Expressions:
    """Concatenate one or more batches of expressions, in order."""
    return Expressions(
        np.concatenate([part.symbols for part in parts]),
        np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))]),
        np.concatenate([part.values for part in parts]),
    )


def apply_operators(operators: NDArray[Any], counts: NDArray[Any], values: NDArray[np.int8]) -> NDArray[np.int8]:
    """Compute the values (M,) of M operators.

    Args:
        operators: (M,) index into `OPERATORS`.
        counts: (M,) number of arguments of each, at least one.
        values: (sum of counts,) the arguments' digits, operator by operator.
    """
    result = np.empty(len(operators), np.int8)
    for operator in range(len(OPERATORS)):
        mine = operators == operator
        if not mine.any():
            continue
        sizes = counts[mine].astype(np.int64)
        digits = values[np.repeat(mine, counts)]
        starts = np.cumsum(sizes) - sizes
        if operator == _MIN:
            result[mine] = np.minimum.reduceat(digits, starts)
        elif operator == _MAX:
            result[mine] = np.maximum.reduceat(digits, starts)
        elif operator == _SM:
            result[mine] = np.add.reduceat(digits, starts, dtype=np.int64) % 10
        else:
            # The list number times ten in the sort key keeps the lists in place and sorts the digits within each.
            ordered = np.sort(np.repeat(np.arange(len(sizes)), sizes) * 10 + digits) % 10
            result[mine] = (ordered[starts + (sizes - 1) // 2] + ordered[starts + sizes // 2]) // 2
    return result


def evaluate_all(symbols: Ids, offsets: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Evaluate N expressions.

    Args:
        symbols: (S,) ids; digits, operators and closing brackets only.
        offsets: (N + 1,) start of each expression, then the end of the last.

    Returns:
        values: (N,) value of each expression; 0 for malformed ones.
        malformed: (N,) bool: unbalanced brackets, an empty list, or not exactly one expression.
    """
    operator = (symbols >= FIRST_OPERATOR) & (symbols < CLOSE_ID)
    close = symbols == CLOSE_ID
    lengths = np.diff(offsets)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    malformed = _malformed(operator, close, owner, len(lengths))

    sound = ~malformed[owner]
    symbols, operator, close, owner = symbols[sound], operator[sound], close[sound], owner[sound]
    values = np.zeros(len(lengths), np.int64)
    if len(symbols):
        level = np.cumsum(operator.astype(np.int64) - close) - operator  # lists around each symbol
        holders = np.flatnonzero(~close)  # symbols that have a value: digits and operators
        values[owner[holders[level[holders] == 0]]] = _values_of_roots(symbols, level, holders)
    return values, malformed


def _malformed(operator: NDArray[np.bool_], close: NDArray[np.bool_], owner: Integers, count: int) -> NDArray[np.bool_]:
    wrong = np.bincount(owner, operator.astype(np.int64) - close, minlength=count) != 0
    # Depth is counted from each expression's own start, so that an unbalanced one does not shift those after it.
    depth = np.cumsum(operator.astype(np.int64) - close)
    first = np.searchsorted(owner, np.arange(count))
    base = np.concatenate([[0], depth])[first]
    depth = depth - base[owner]
    wrong[owner[depth < 0]] = True
    # The outermost level must have exactly one value: a digit or an operator.
    roots = ~close & (depth - operator == 0)
    wrong |= np.bincount(owner, roots, minlength=count) != 1
    empty = np.flatnonzero(operator[:-1] & close[1:])
    wrong[owner[empty]] = True
    return np.asarray(wrong, np.bool_)


def _values_of_roots(symbols: Ids, level: Integers, holders: Integers) -> NDArray[np.int8]:
    """Return the values of the outermost lists and digits, in order; computed from the innermost level outwards."""
    order = holders[np.argsort(level[holders], kind="stable")]
    bounds = np.searchsorted(level[order], np.arange(int(level[order[-1]]) + 2))
    inner = np.zeros(0, np.int8)
    for depth in range(len(bounds) - 2, -1, -1):
        here = order[bounds[depth] : bounds[depth + 1]]
        digits = symbols[here].astype(np.int8) - FIRST_DIGIT
        lists = digits >= len("0123456789")
        if lists.any():
            # The arguments of a list are the values one level deeper, up to the next list of its level.
            below = order[bounds[depth + 1] : bounds[depth + 2]]
            edges = np.concatenate([np.searchsorted(below, here[lists]), [len(below)]])
            digits[lists] = apply_operators(digits[lists] - len("0123456789"), np.diff(edges), inner)
        inner = digits
    return inner
