"""The task ``sequences``: predict a class, labels, numbers, or a label of each symbol from sequences of symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import UsageError
from fptkit.interfaces import Examples, Preparation
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.own_data.task import FoundTarget, OwnDataTask
from fptkit.tasks.reading.delimited import UNLABELLED, TextTable
from fptkit.tasks.reading.json_lines import LIST
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.paths import SourceFiles
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.reading.usual import TARGETS, usual_column
from fptkit.tasks.sequences.alphabet import Alphabet, make_alphabet
from fptkit.tasks.sequences.options import ENDINGS, FASTA, SequenceOptions
from fptkit.tasks.sequences.preparation import SequencePreparation
from fptkit.tasks.sequences.reader import (
    LAST,
    SEQUENCE_NAMES,
    find_sequences,
    label_table,
    read_sequences,
    with_labels,
)
from fptkit.tasks.sequences.tags import Tags, divided, fit_tags

_LEAST_TAGGED = 8
"""Symbols of the shortest sequence from which labels of equal length count as tagging: for fewer it may be chance."""


class Sequences(OwnDataTask):
    """Predict something from sequences of symbols.

    Args:
        options: see `SequenceOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used.

    Shapes: inputs (B, T) int64; targets as the target says, for tagging (B, T).

    Raises:
        SourceError: a file does not exist.
        DataError: a file is damaged, a symbol or a label is unknown, or labels and sequences do not fit.
        UsageError: the options do not fit the data.
    """

    name, endings = "sequences", ENDINGS

    def __init__(self, options: SequenceOptions, *, seed: int, pinned: str | None = None) -> None:
        self._sequence = ""  # column of the sequences in tables
        self._labels = label_table(options.labels, options.delimiter) if options.labels else None
        self._used: set[int] = set()  # rows of the table of labels
        self._notes: list[str] = []
        self._cut = 0
        super().__init__(options, seed=seed, pinned=pinned)

    def find(self, options: TargetOptions) -> SourceFiles:
        """See `OwnDataTask.find`."""
        assert isinstance(options, SequenceOptions)
        own = options.split.own and options.split.column is None
        return find_sequences(options.source, own=own, labels=options.labels)

    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        """See `OwnDataTask.read_split`. Content: sequences as text."""
        assert isinstance(options, SequenceOptions)
        return Examples.joined([self._read(path, options) for path in files.splits[split]])

    def find_target(
        self, everything: Examples, train: Sequence[int] | NDArray[np.int64], options: TargetOptions
    ) -> FoundTarget:
        """See `OwnDataTask.find_target`; also tagging."""
        assert isinstance(options, SequenceOptions)
        if options.problem == "tagging" or (options.problem == "auto" and _are_tags(everything, options)):
            return fit_tags(everything, options.separator, options.unlabelled)
        return super().find_target(everything, train, options)

    def fit(
        self, examples: Examples, train: NDArray[np.int64], target: Target | Tags, options: TargetOptions
    ) -> SequencePreparation:
        """See `OwnDataTask.fit`.

        Raises:
            DataError: a sequence has an unknown symbol.
        """
        assert isinstance(options, SequenceOptions)
        separator = _separator(examples, options)
        texts = ((examples.content[row], examples.names[row]) for row in train)
        unknown = options.unknown == "token"
        alphabet = make_alphabet(options.alphabet, texts, separator=separator, unknown=unknown)
        lengths = np.array([len(alphabet.divide(text, name)) for text, name in _pairs(examples)])
        longest = int(lengths.max())
        if options.max_length is not None:
            self._cut = int((lengths > options.max_length).sum())
            longest = min(longest, options.max_length)
        kept = "" if longest == lengths.max() else f", cut to {longest:,}"
        self._notes.append(
            f"sequences: median {int(np.median(lengths)):,} symbols, at most {int(lengths.max()):,}{kept}; "
            + _described(alphabet)
        )
        return SequencePreparation(
            alphabet=alphabet,
            target=target,
            longest=longest,
            max_length=options.max_length,
            sequence=self._sequence or "sequence",
            header=options.header,
            delimiter=options.delimiter,
            missing=options.missing,
        )

    def further_notes(self, preparation: Preparation, examples: Mapping[str, Examples]) -> Sequence[str]:
        """Lengths and alphabet, what was cut, and labels that were not used."""
        notes = list(dict.fromkeys(self._notes))
        if self._cut:
            assert isinstance(preparation, SequencePreparation)
            notes.append(
                f"{self._cut:,} sequences are cut to their first {preparation.max_length:,} symbols (max_length)"
            )
        if self._labels is not None and (rest := len(self._labels) - len(self._used)):
            notes.append(f"{rest:,} rows of {Path(self._labels.name).name} have no sequence and are not used")
        return notes

    def _read(self, path: Path, options: SequenceOptions) -> Examples:
        table = read_sequences(path, header=options.header, delimiter=options.delimiter)
        fasta = file_type(path) in FASTA
        column = "sequence" if fasta else self._sequence_column(table, options)
        table = with_labels(table, self._labels, options.id, self._used)
        split = [name for name in (options.split.group, options.split.time, options.split.column) if name]
        targets = options.target or (self._target_column(table, column, options, split),)
        for name in (*targets, *split):
            table.need(name, "task.target" if name in targets else "task.split")
        if fasta and targets == (LAST,) and options.header is None and self._labels is None:
            self._notes.append(f"labels are from the headers, such as {table.columns[LAST][0]!r}")
        return Examples(
            table.columns[column],
            [table.where(row) for row in range(len(table))],
            {name: table.columns[name] for name in targets},
            {name: table.columns[name] for name in split},
            table.notes,
        )

    def _sequence_column(self, table: TextTable, options: SequenceOptions) -> str:
        if not self._sequence:
            self._sequence = options.sequence or usual_column(
                table.columns, SEQUENCE_NAMES, "task.sequence", table.name, "sequences"
            )
        table.need(self._sequence, "task.sequence")
        return self._sequence

    def _target_column(self, table: TextTable, column: str, options: SequenceOptions, split: Sequence[str]) -> str:
        rest = [name for name in table.columns if name not in (column, options.id, *split)]
        if options.header is not None and file_type(Path(table.name)) in FASTA and set(table.columns) <= {"id", column}:
            raise UsageError(f"task.header: no header of {table.name} matches '{options.header}'; correct the pattern")
        if not rest:
            raise UsageError(
                f"task.target: {table.name} has no labels; name a table of them by task.labels, or in FASTA the part "
                "of the header by task.header; "
                f"{UNLABELLED}"
            )
        return usual_column(rest, TARGETS, "task.target", table.name, "labels")


def _pairs(examples: Examples) -> zip[tuple[str, str]]:
    return zip(examples.content, examples.names, strict=True)


def _separator(examples: Examples, options: SequenceOptions) -> str:
    """What separates symbols: the option, or that of JSON lists."""
    return options.symbol_separator or (LIST if any(LIST in text for text in examples.content) else "")


def _are_tags(examples: Examples, options: SequenceOptions) -> bool:
    """Whether every label is as long as its sequence."""
    if len(examples.labels) != 1 or options.alphabet == "bytes":
        return False
    [cells] = examples.labels.values()
    separator = options.separator or (LIST if any(LIST in cell for cell in cells) else "")
    alphabet = Alphabet(kind=options.alphabet, separator=_separator(examples, options))
    for cell, (text, name) in zip(cells, _pairs(examples), strict=True):
        count = len(divided(cell, separator))
        if (count < _LEAST_TAGGED and not separator) or count != len(alphabet.divide(text, name)):
            return False
    return True


def _described(alphabet: Alphabet) -> str:
    if alphabet.kind == "bytes":
        return "symbols are bytes of UTF-8"
    count = f"{len(alphabet.symbols)} symbols"
    if alphabet.same_case:
        return f"alphabet {alphabet.kind}, {count} with ambiguity codes and gaps; lower case counts as upper case"
    both = any(symbol.lower() in alphabet.symbols and symbol.isupper() for symbol in alphabet.symbols)
    case = "; lower and upper case are different symbols" if both else ""
    return f"{count} in train ({', '.join(alphabet.symbols[:12])}{', ...' if len(alphabet.symbols) > 12 else ''}){case}"
