"""The preparation of sequences: their alphabet, and what is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from fptkit.errors import DataError
from fptkit.interfaces import IGNORED, Batch, Examples, Metric, OutputKind, Preparation, Shown, Symbols
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.sequences.alphabet import PAD, Alphabet
from fptkit.tasks.sequences.options import FASTA
from fptkit.tasks.sequences.reader import LAST, find_sequences, read_sequences
from fptkit.tasks.sequences.tags import Tags


class SequencePreparation(Preparation):
    """How a sequence becomes symbols.

    Args:
        alphabet: the symbols.
        target: what is predicted.
        longest: symbols of the longest training, validation or test sequence.
        max_length: longer sequences are cut to their first symbols; None: they are an error.
        sequence: column of the sequences in tables and JSON records.
        header: regular expression for the headers of FASTA.
        delimiter: character between the cells of a table; None to find it.
        missing: cells that mean a missing label.
    """

    alphabet: Alphabet
    target: Annotated[Target | Tags, Field(discriminator="kind")]
    longest: int
    max_length: int | None
    sequence: str
    header: str | None
    delimiter: str | None
    missing: tuple[str, ...]

    @property
    def input(self) -> Symbols:
        """Symbols of the alphabet."""
        return Symbols(self.alphabet.size, PAD)

    @property
    def output(self) -> OutputKind:
        """That of the target."""
        return self.target.output

    @property
    def max_tokens(self) -> int:
        """Symbols of the longest sequence."""
        return self.longest

    def read(self, source: Sequence[str]) -> Examples:
        """Read new sequences; labels may be absent.

        Raises:
            DataError: a file cannot be read, or a table has no column of sequences.
            SourceError: there is no such file.
        """
        files = find_sequences({"all": tuple(source)}, own=False).files
        return Examples.joined([self._read(path) for path in files])

    def _read(self, path: Path) -> Examples:
        table = read_sequences(path, header=self.header, delimiter=self.delimiter)
        column = "sequence" if file_type(path) in FASTA else self.sequence
        table.need(column, "the trained model")
        names = [table.where(row) for row in range(len(table))]
        labels = {name: table.columns[name] for name in self.target.columns if name in table.columns}
        if len(labels) < len(self.target.columns) or not self._are_labels(labels):
            labels = {}
        return Examples(table.columns[column], names, labels)

    def _are_labels(self, labels: dict[str, Sequence[str]]) -> bool:
        """Whether there are labels: not if all are missing, or if parts of headers only look like labels."""
        if all(cell in self.missing for cells in labels.values() for cell in cells):
            return False
        guessed = set(labels) == {LAST} and self.header is None and self.target.kind == "classes"
        return not guessed or set(labels[LAST]) <= set(self.target.names)

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Shapes: inputs (B, T).

        Raises:
            DataError: a sequence has an unknown symbol or is too long, or labels do not fit.
        """
        encoded = [
            self.alphabet.encode(text, name) for text, name in zip(examples.content, examples.names, strict=True)
        ]
        whole = [len(ids) for ids in encoded]
        rows = [self._cut(ids, name) for ids, name in zip(encoded, examples.names, strict=True)]
        lengths = np.array([len(ids) for ids in rows])
        inputs = np.full((len(rows), lengths.max()), PAD, np.int64)
        for row, ids in enumerate(rows):
            inputs[row, : len(ids)] = ids
        if isinstance(self.target, Tags):
            targets = self.target.padded(examples, whole, inputs.shape[1])
            targets[torch.from_numpy(np.arange(inputs.shape[1]) >= lengths[:, None])] = IGNORED
        else:
            targets = self.target.encode(examples)
        equal = bool((lengths == lengths[0]).all())
        return Batch(torch.from_numpy(inputs), targets, None if equal else torch.from_numpy(lengths))

    def show(self, content: Any) -> Shown:
        """The letters, or the symbols if some have several."""
        symbols = self.alphabet.divide(content, "") if self.alphabet.kind != "bytes" else content
        return Shown(text=content) if isinstance(symbols, str) else Shown(symbols=symbols)

    def _cut(self, ids: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        if self.max_length is not None:
            return ids[: self.max_length]
        if len(ids) > self.longest:
            raise DataError(
                f"{name}: {len(ids):,} symbols, but the longest sequence of the training data has {self.longest:,}; "
                "shorten it, or train with the option max_length, which cuts sequences"
            )
        return ids

    def metrics(self) -> Mapping[str, Metric]:
        """New metrics of the target."""
        return self.target.metrics()

    def answers(self, predictions: Any, lengths: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """See `fptkit.Preparation.answers`.

        Args:
            predictions: logits or scaled numbers of N examples, as the head gives them.
            lengths: tokens of each example, for tagging: the classes of padding are left out. None: all are given.
        """
        found = self.target.answers(predictions)
        if isinstance(self.target, Tags) and lengths is not None:
            return [
                {key: values[:length] for key, values in one.items()}
                for one, length in zip(found, lengths, strict=True)
            ]
        return found
