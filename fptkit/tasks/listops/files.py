"""Readers of ListOps files: Long Range Arena's and Nangia & Bowman's tables.

Every label is checked against the value of its expression; a difference means a damaged file or another language.

Lines with one space between symbols, the usual form, take a fast path of a few operations on bytes: 96,000 expressions
of Long Range Arena's length have about 300 million symbols including round brackets. The fast path only counts round
brackets. All other lines, and lines with errors, are read by `fptkit.tasks.listops.grammar`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fptkit.errors import DataError
from fptkit.tasks.listops.arrays import Expressions, evaluate_all
from fptkit.tasks.listops.grammar import CLOSE, CLOSE_ID, DIGITS, IDS, OPERATORS, encode, evaluate
from fptkit.tasks.reading.text import byte_lines

_UNKNOWN = 255
# Operators become single bytes outside ASCII, so lines that are not ASCII do not take the fast path.
_OPERATOR_BYTES = {operator.encode(): bytes([0x80 + number]) for number, operator in enumerate(OPERATORS)}
_TABLE = bytearray([_UNKNOWN] * 256)
for _digit in DIGITS:
    _TABLE[ord(_digit)] = IDS[_digit]
for _operator, _byte in _OPERATOR_BYTES.items():
    _TABLE[_byte[0]] = IDS[_operator.decode()]
_TABLE[ord(CLOSE)] = CLOSE_ID


def read_expressions(path: Path | str) -> Expressions:
    """Read one file.

    Args:
        path: plain or ``.gz``. Either a table whose header names the columns ``Source`` (the expression) and
            ``Target`` (its value), as in Long Range Arena, or lines of label, tab, expression, as in Nangia & Bowman.
            Empty lines are skipped.

    Raises:
        DataError: the file is missing, damaged or in another layout; an expression is malformed; a label is not a digit
            or not the value of its expression. The message names file and line.

    Source: google-research/long-range-arena, lra_benchmarks/data/listops.py, ``write_to_file``; Nangia & Bowman 2018.
    """
    path = Path(path)
    symbols = bytearray()
    lengths: list[int] = []
    labels: list[int] = []
    numbers: list[int] = []
    for number, label, expression in _rows(path):
        ids = _fast_ids(expression)
        if ids is None:
            text = expression.decode("utf-8", "replace")
            try:
                ids = bytes(encode(text))
            except DataError as err:
                raise DataError(f"{path}:{number}: {err}") from err
        symbols += ids
        lengths.append(len(ids))
        labels.append(label)
        numbers.append(number)
    if not lengths:
        raise DataError(f"{path}: no expressions")
    offsets = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))])
    ids_of_all = np.frombuffer(bytes(symbols), np.uint8)
    values, malformed = evaluate_all(ids_of_all, offsets)
    targets = np.array(labels, np.int64)
    wrong = np.flatnonzero(malformed | (values != targets))
    if len(wrong):
        _explain(path, numbers[wrong[0]], bool(malformed[wrong[0]]), len(wrong))
    return Expressions(ids_of_all, offsets, targets)


def _fast_ids(expression: bytes) -> bytes | None:
    """Return the symbol ids of an expression with single spaces between its symbols, or None for any other."""
    if not expression.isascii() or expression.count(b"(") != expression.count(b")"):
        return None
    for operator, byte in _OPERATOR_BYTES.items():
        expression = expression.replace(operator, byte)
    between = expression[1::2]
    if len(expression) % 2 == 0 or between.count(b" ") != len(between):
        return None
    ids = expression[::2].translate(bytes(_TABLE), b"()")
    return ids if ids and _UNKNOWN not in ids else None


def _rows(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield line number, label and expression of each line that is not empty."""
    columns: tuple[int, int] | None = None
    for number, line in byte_lines(path):
        cells = [cell.strip() for cell in line.split(b"\t")]
        if cells == [b""]:
            continue
        if columns is None:
            columns, header = _columns(path, number, cells)
            if header:
                continue
        expression_column, label_column = columns
        if len(cells) <= max(columns):
            raise DataError(f"{path}:{number}: expected {1 + max(columns)} tab-separated columns, got {len(cells)}")
        label = cells[label_column]
        if len(label) != 1 or not label.isdigit():
            shown = label.decode("utf-8", "replace")
            raise DataError(f"{path}:{number}: the label must be one digit, 0 to 9, got '{shown:.20}'")
        yield number, int(label), cells[expression_column]


def _columns(path: Path, number: int, cells: list[bytes]) -> tuple[tuple[int, int], bool]:
    """Return the columns of expression and label according to the first line, and whether that line is a header."""
    if b"Source" in cells and b"Target" in cells:
        return (cells.index(b"Source"), cells.index(b"Target")), True
    if len(cells) == 2 and cells[0].isdigit():
        return (1, 0), False
    raise DataError(
        f"{path}:{number}: expected a header with the columns Source and Target (Long Range Arena), or label, tab, "
        "expression (Nangia & Bowman)"
    )


def _explain(path: Path, wrong: int, malformed: bool, count: int) -> None:
    """Read the first wrong line again and report what is wrong with it.

    Raises:
        DataError: always.
    """
    label, expression = next((label, text) for number, label, text in _rows(path) if number == wrong)
    try:
        value = evaluate(expression.decode("utf-8", "replace"))
    except DataError as err:
        raise DataError(f"{path}:{wrong}: {err}") from err
    assert not malformed, f"{path}:{wrong}: the two readers disagree"
    more = f" ({count:,} wrong lines in total)" if count > 1 else ""
    raise DataError(f"{path}:{wrong}: the label is {label}, but the value of the expression is {value}{more}")
