"""The language of ListOps: its symbols, and what an expression is worth.

An expression is a digit, or an operator with a list of expressions: ``[MAX 4 [MIN 7 2 ] 0 ]``. Nangia & Bowman and
Long Range Arena write the same with the round brackets of a binary tree: ``( ( ( [MAX 4 ) 3 ) ] )``. Those say nothing
that the square ones do not, so they are checked and dropped.

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
"""Symbols by id. The order is part of the task and never changes: a set in its place, as in the code of LRA and of the
paper, gives other ids in each process (fault D4)."""

PAD = 0
IDS = {symbol: number for number, symbol in enumerate(VOCABULARY)}
FIRST_OPERATOR = IDS[OPERATORS[0]]
CLOSE_ID = IDS[CLOSE]

_SYMBOL = re.compile(r"\[\w*|\w+|[^\s\w]")
_WIDEST_QUOTE = 20


def apply_operator(operator: str, values: Sequence[int]) -> int:
    """The value of one operator over digits.

    Args:
        operator: one of `OPERATORS`.
        values: at least one digit.

    ``[MED`` is the median, of an even number of values the mean of the middle two rounded down, as LRA's
    ``int(numpy.median(values))``; ``[SM`` is the sum modulo 10.
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
    """The value of an expression, 0 ... 9.

    Args:
        expression: with square brackets only (``[MAX 4 3 ]``), or with the round brackets of Nangia & Bowman and LRA
            (``( ( ( [MAX 4 ) 3 ) ] )``); spaces may be left out around brackets. It may be nested to any depth.

    Raises:
        DataError: it is no expression of the language; the message names the symbol and its place.
    """
    return _Reader().read(expression)


def encode(expression: str) -> list[int]:
    """The symbol ids of an expression in the order of `VOCABULARY`, without round brackets.

    Raises:
        DataError: it is no expression of the language.
    """
    reader = _Reader()
    reader.read(expression)
    return reader.ids


def decode(ids: Iterable[int]) -> str:
    """The expression with these symbol ids, square brackets only; padding is left out."""
    return " ".join(VOCABULARY[number] for number in ids if number != PAD)


@dataclass
class _List:
    """An operator whose list is still open.

    Args:
        operator: as written.
        place: number of its symbol, from 1.
        round_brackets: round brackets before it: one for each argument and one for the end; 0 where it is written
            without.
        values: of the arguments so far.
    """

    operator: str
    place: int
    round_brackets: int
    values: list[int] = field(default_factory=list)


class _Reader:
    """Reads one expression, symbol by symbol, on a stack: expressions nest deeper than Python's own calls may."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._open: list[_List] = []
        self._opened = 0  # round brackets just read, which belong to the operator that must follow
        self._due = 0  # round brackets that must close next
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
            raise DataError(f"ListOps expression: it ends too early, {self._missing()}")
        return self._result

    def _take(self, symbol: str) -> None:
        if symbol not in IDS and symbol not in ("(", ")"):
            raise ValueError(
                "a number is one digit, 0 to 9"
                if symbol.isdecimal()
                else f"unknown symbol; there are {', '.join(OPERATORS)}, 0 to 9 and brackets"
            )
        if symbol == ")":
            if not self._due:
                raise ValueError("no argument or list ends here")
            self._due -= 1
            return
        if self._due:
            raise ValueError("a ')' must come here")
        if self._result is not None:
            raise ValueError("the expression has ended before it")
        if symbol == "(":
            self._opened += 1
            return
        if symbol in OPERATORS:
            self.ids.append(IDS[symbol])
            self._open.append(_List(symbol, self._place, self._opened))
            self._opened = 0
            return
        if self._opened:
            raise ValueError("after '(' comes a further '(' or an operator")
        self.ids.append(IDS[symbol])
        if symbol == CLOSE:
            self._close()
        else:
            self._give(int(symbol))

    def _close(self) -> None:
        if not self._open:
            raise ValueError("no list is open")
        ended = self._open.pop()
        what = f"it ends the list of {ended.operator}, symbol {ended.place:,},"
        if not ended.values:
            raise ValueError(f"{what} which has no argument")
        if ended.round_brackets:
            if ended.round_brackets != len(ended.values) + 1:
                raise ValueError(
                    f"{what} which has {ended.round_brackets} '(' before it and needs {len(ended.values) + 1}, one for "
                    "each argument and one for the end"
                )
            self._due += 1
        self._give(apply_operator(ended.operator, ended.values))

    def _give(self, value: int) -> None:
        """Hand a value to the list it stands in."""
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
        return "after '(' comes an operator" if self._opened else "it holds no symbol"
