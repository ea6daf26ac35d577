"""The preparation of ``listops``: how long an expression may be, and whether its brackets are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Classes, Examples, Preparation, Shown, Symbols
from fptkit.tasks.listops.grammar import CLOSE_ID, PAD, VOCABULARY, decode, encode, evaluate
from fptkit.tasks.reading.paths import find_files
from fptkit.tasks.reading.text import byte_lines

LABEL = "Target"
"""Name of the only target, as in Long Range Arena's files."""

ENDINGS = (".tsv", ".txt")


class ListOpsPreparation(Preparation):
    """How an expression becomes symbols.

    Args:
        longest: symbols of the longest expression.
        max_length: longer expressions are cut to their first symbols; None: they are an error.
        brackets: whether closing brackets are symbols; if not (protocol ``fpt2021``), expressions are padded to the
            longest one, and padding is read.
    """

    longest: int
    max_length: int | None
    brackets: bool

    @property
    def input(self) -> Symbols:
        """Digits, operators, and the closing bracket if it is kept."""
        return Symbols(len(VOCABULARY) if self.brackets else CLOSE_ID, PAD)

    @property
    def output(self) -> Classes:
        """The digits."""
        return Classes(10)

    @property
    def max_tokens(self) -> int:
        """Symbols of the longest expression."""
        return self.longest

    def read(self, source: Sequence[str]) -> Examples:
        """Read new expressions from ``.tsv`` and ``.txt`` files, also packed as ``.gz``.

        A file is a table with the columns ``Source`` and, for labels, ``Target``; or lines of value, tab, expression;
        or lines of an expression.

        Raises:
            SourceError: there is nothing at a place.
            DataError: a file cannot be read.
        """
        return Examples.joined([_expressions(path) for path in find_files({"all": source}, ENDINGS, own=False).files])

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Shapes: inputs (B, T).

        Raises:
            DataError: an expression is malformed or too long, or a label is not its value.
        """
        rows = [self._symbols(text, name) for text, name in zip(examples.content, examples.names, strict=True)]
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.max()) if self.brackets else self.longest
        inputs = torch.full((len(rows), width), PAD)
        for place, row in enumerate(rows):
            inputs[place, : len(row)] = torch.from_numpy(row)
        equal = not self.brackets or bool((lengths == lengths[0]).all())
        return Batch(inputs, _values(examples), None if equal else lengths)

    def show(self, content: str) -> Shown:
        """See `fptkit.Preparation.show`: the expression without round brackets."""
        return Shown(text=decode(encode(content)))

    def _symbols(self, text: str, name: str) -> np.ndarray:
        try:
            ids = np.array(encode(text), np.int64)
        except DataError as err:
            raise DataError(f"{name}: {err}") from err
        if not self.brackets:
            ids = ids[ids != CLOSE_ID]
        if self.max_length is None and len(ids) > self.longest:
            raise DataError(
                f"{name}: {len(ids):,} symbols, but the longest expression in training has {self.longest:,}; shorten "
                "it, or train with the option max_length, which cuts expressions"
            )
        return ids[: self.longest]


def _values(examples: Examples) -> Tensor:
    cells = examples.labels.get(LABEL)
    if cells is None:
        return torch.zeros(len(examples), dtype=torch.int64)
    for text, cell, name in zip(examples.content, cells, examples.names, strict=True):
        if (value := evaluate(text)) != int(cell):
            raise DataError(f"{name}: the label is {cell}, but the value of the expression is {value}")
    return torch.tensor([int(cell) for cell in cells])


def _expressions(path: Path) -> Examples:
    """The expressions of a file, with labels if it has them."""
    lines = list(_lines(path))
    if not lines:
        raise DataError(f"{path}: no expressions")
    _, first = lines[0]
    kept = lines[1:] if "Source" in first else lines
    if not kept:
        raise DataError(f"{path}: a header, but no expressions")
    return _of_lines(path, kept, _place_in(first))


def _of_lines(path: Path, lines: Sequence[tuple[int, list[str]]], place: tuple[int, int | None]) -> Examples:
    expression, label = place
    content, names, cells = [], [], []
    for number, line in lines:
        where = f"{path}:{number}"
        if len(line) <= max(expression, label or 0):
            raise DataError(f"{where}: {len(line)} tab-separated columns; the first line has more")
        content.append(line[expression])
        names.append(where)
        if label is not None:
            if line[label] not in tuple("0123456789"):
                raise DataError(f"{where}: the label must be one digit, 0 to 9, got '{line[label][:20]}'")
            cells.append(line[label])
    return Examples(content, names, {LABEL: cells} if label is not None else {})


def _place_in(first: Sequence[str]) -> tuple[int, int | None]:
    """Columns of expression and label, according to the first line."""
    if "Source" in first:
        return first.index("Source"), first.index(LABEL) if LABEL in first else None
    return (1, 0) if len(first) > 1 else (0, None)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line that is not empty."""
    for number, line in byte_lines(path):
        cells = [cell.strip().decode("utf-8", "replace") for cell in line.split(b"\t")]
        if cells != [""]:
            yield number, cells
