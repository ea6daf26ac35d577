"""The language of ListOps: its symbols, and the evaluation of expressions.

An expression is a digit, or an operator with a list of expressions: ``[MAX 4 [MIN 7 2 ] 0 ]``. Nangia & Bowman and
Long Range Arena add the round brackets of a binary tree: ``( ( ( [MAX 4 ) 3 ) ] )``. These carry no information beyond
the square brackets, so they are checked and dropped.

Source: Nangia & Bowman 2018, arXiv 1804.06028; google-research/long-range-arena, lra_benchmarks/data/listops.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fptkit.errors import DataError

DIGITS = tuple("0123456789")
OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
CLOSE = "]"

VOCABULARY = ("<pad>", *DIGITS, *OPERATORS, CLOSE)
"""Symbols by id. The order is part of the task and never changes; with a set, as in the code of LRA and of the paper,
ids would differ between processes (fault D4)."""

PAD = 0
IDS = {symbol: number for number, symbol in enumerate(VOCABULARY)}
FIRST_OPERATOR = IDS[OPERATORS[0]]
CLOSE_ID = IDS[CLOSE]

_SYMBOL = re.compile(r"\[\w*|\w+|[^\s\w]")
_WIDEST_QUOTE = 20


def apply_operator(operator: str, values: Sequence[int]) -> int:
    """Apply an operator to digits.

    ``[MED`` is the median; for an even number of values, the mean of the middle two rounded down, as in LRA's
    ``int(numpy.median(values))``. ``[SM`` is the sum modulo 10.

    Args:
        operator: one of `OPERATORS`.
        values: at least one digit.
    """
    if operator == "[MIN":
        return min(values)
    if operator == "[MAX":
        return max(values)
    if operator == "[SM":
        return sum(values) % 10
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2


def evaluate(expression: str) -> int:
    """Evaluate an expression; the value is 0 ... 9.

    Args:
        expression: with square brackets only (``[MAX 4 3 ]``), or with the round brackets of Nangia & Bowman and LRA
            (``( ( ( [MAX 4 ) 3 ) ] )``); spaces around brackets are optional. Any nesting depth is allowed.

    Raises:
        DataError: the expression is malformed; the message names the symbol and its position.
    """
    return _Reader().read(expression)


def encode(expression: str) -> list[int]:
    """Convert an expression to symbol ids in the order of `VOCABULARY`, without round brackets.

    Args:
        expression: see `evaluate`.

    Raises:
        DataError: the expression is malformed.
    """
    reader = _Reader()
    reader.read(expression)
    return reader.ids


def decode(ids: Iterable[int]) -> str:
    """Convert symbol ids to an expression with square brackets; padding is skipped."""
    return " ".join(VOCABULARY[number] for number in ids if number != PAD)


@dataclass
class _List:
    """An operator whose list is still open.

    Args:
        operator: as written.
        place: number of its symbol, from 1.
        round_brackets: number of round brackets before it: one for each argument and one for the end; 0 if it is
            written without.
        values: values of the arguments so far.
    """

    operator: str
    place: int
    round_brackets: int
    values: list[int] = field(default_factory=list)


class _Reader:
    """Reads one expression symbol by symbol; uses a stack, since expressions may nest deeper than Python's recursion
    limit."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._open: list[_List] = []
        self._opened = 0  # '(' just read; they belong to the operator that must follow
        self._due = 0  # ')' that must follow
        self._result: int | None = None
        self._place = 0

    def read(self, expression: str) -> int:
        """See `evaluate`."""
        for match in _SYMBOL.finditer(expression):
            self._place += 1
            try:
                self._take(match.group())
            except ValueError as fault:
                symbol = match.group()
                quoted = symbol if len(symbol) <= _WIDEST_QUOTE else symbol[:_WIDEST_QUOTE] + "..."
                where = f"symbol {self._place:,} (character {match.start() + 1:,}) '{quoted}'"
                raise DataError(f"ListOps expression, {where}: {fault}") from None
        if self._result is None or self._due:
            raise DataError(f"ListOps expression ends too early: {self._missing()}")
        return self._result

    def _take(self, symbol: str) -> None:
        if symbol not in IDS and symbol not in ("(", ")"):
            raise ValueError(
                "numbers must be one digit, 0 to 9"
                if symbol.isdecimal()
                else f"unknown symbol; known: {', '.join(OPERATORS)}, 0 to 9 and brackets"
            )
        if symbol == ")":
            if not self._due:
                raise ValueError("no argument or list to close")
            self._due -= 1
            return
        if self._due:
            raise ValueError("expected ')'")
        if self._result is not None:
            raise ValueError("extra symbol after the end of the expression")
        if symbol == "(":
            self._opened += 1
            return
        if symbol in OPERATORS:
            self.ids.append(IDS[symbol])
            self._open.append(_List(symbol, self._place, self._opened))
            self._opened = 0
            return
        if self._opened:
            raise ValueError("expected another '(' or an operator after '('")
        self.ids.append(IDS[symbol])
        if symbol == CLOSE:
            self._close()
        else:
            self._give(int(symbol))

    def _close(self) -> None:
        if not self._open:
            raise ValueError("no list is open")
        ended = self._open.pop()
        what = f"the list of {ended.operator}, symbol {ended.place:,},"
        if not ended.values:
            raise ValueError(f"{what} has no argument")
        if ended.round_brackets:
            if ended.round_brackets != len(ended.values) + 1:
                raise ValueError(
                    f"{what} has {ended.round_brackets} '(' before it and needs {len(ended.values) + 1}, one for each "
                    "argument and one for the end"
                )
            self._due += 1
        self._give(apply_operator(ended.operator, ended.values))

    def _give(self, value: int) -> None:
        """Append a value to the innermost open list."""
        if not self._open:
            self._result = value
            return
        self._open[-1].values.append(value)
        if self._open[-1].round_brackets:
            self._due += 1

    def _missing(self) -> str:
        if self._due:
            return f"{self._due} ')' missing"
        if self._open:
            ended = self._open[-1]
            return f"the list of {ended.operator}, symbol {ended.place:,}, has no ']'"
        return "expected an operator after '('" if self._opened else "it has no symbols"
