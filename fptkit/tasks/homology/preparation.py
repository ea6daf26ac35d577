"""The preparation of ``remote_homology``: the folds, and how long a sequence may be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Classes, Examples, Preparation, Symbols
from fptkit.tasks.homology import alphabet
from fptkit.tasks.homology.records import read_records
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.numbers import short
from fptkit.tasks.reading.paths import places
from fptkit.tasks.sequences.reader import SEQUENCE_NAMES, find_sequences, read_sequences

LABELS = ("fold_label", "fold")
"""Columns that have the fold, best first."""

_TAPE = (".json", ".json.gz", ".lmdb")


class HomologyPreparation(Preparation):
    """How a protein sequence becomes symbols. Characters that are no amino-acid codes become X, as in training.

    Args:
        folds: names of the classes, the folds' labels.
        longest: symbols of the longest sequence in training, after cropping.
        max_length: longer sequences are cropped to their first residues.
    """

    folds: tuple[str, ...]
    longest: int
    max_length: int

    @property
    def input(self) -> Symbols:
        """Amino acids."""
        return Symbols(alphabet.SYMBOL_COUNT, alphabet.PAD)

    @property
    def output(self) -> Classes:
        """The folds."""
        return Classes(len(self.folds), names=self.folds)

    @property
    def max_tokens(self) -> int:
        """Residues of the longest sequence."""
        return self.longest

    def read(self, source: Sequence[str]) -> Examples:
        """Read new sequences: FASTA, tables or JSON records with a column of sequences, or files in TAPE's layout.

        Labels are those of the column or header field ``fold_label`` or ``fold``, if there is one.

        Raises:
            SourceError: there is nothing at a place, or no file of sequences.
            DataError: a file cannot be read, or has no column of sequences.
        """
        return Examples.joined([part for entry in source for place in places(entry) for part in self._at(place)])

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Shapes: inputs (B, T).

        Raises:
            DataError: a sequence is empty or too long, or a label is unknown.
        """
        rows = [self._symbols(text, name) for text, name in zip(examples.content, examples.names, strict=True)]
        lengths = torch.tensor([len(row) for row in rows])
        inputs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=alphabet.PAD)
        equal = bool((lengths == lengths[0]).all())
        return Batch(inputs, self._targets(examples), None if equal else lengths)

    def _at(self, place: Path) -> list[Examples]:
        if place.name.endswith(_TAPE):
            return [_of_tape(place)]
        return [_of_table(path) for path in find_sequences({"all": (f"path:{place}",)}, own=False).files]

    def _symbols(self, text: str, name: str) -> Tensor:
        ids, _ = alphabet.encode(text)
        if not len(ids):
            raise DataError(f"{name}: the sequence is empty; remove it")
        if len(ids) > self.longest and self.longest < self.max_length:
            raise DataError(
                f"{name}: {len(ids):,} residues, but the longest sequence of the training data has {self.longest:,}; "
                "shorten it"
            )
        return torch.from_numpy(ids[: self.max_length].astype(np.int64))

    def _targets(self, examples: Examples) -> Tensor:
        cells = examples.labels.get(LABELS[0])
        if cells is None:
            return torch.zeros(len(examples), dtype=torch.int64)
        place = {fold: number for number, fold in enumerate(self.folds)}
        found = [place.get(same_label(cell)) for cell in cells]
        if None in found:
            row = found.index(None)
            raise DataError(f"{examples.names[row]}: unknown fold {short(cells[row])}; it is none of the training data")
        return torch.tensor(found, dtype=torch.int64)


def _of_tape(path: Path) -> Examples:
    records = read_records(path)
    names = [f"{path}, {record.identifier or number}" for number, record in enumerate(records)]
    cells = [str(record.fold) for record in records]
    return Examples([record.primary for record in records], names, {LABELS[0]: cells})


def _of_table(path: Path) -> Examples:
    table = read_sequences(path)
    by_name = {name.lower(): name for name in reversed(list(table.columns))}
    column = next((by_name[name] for name in SEQUENCE_NAMES if name in by_name), None)
    if column is None:
        raise DataError(f"{path}: no column of sequences; name one 'sequence'. It has {', '.join(table.columns)}")
    label = next((by_name[name] for name in LABELS if name in by_name), None)
    names = [table.where(row) for row in range(len(table))]
    return Examples(table.columns[column], names, {} if label is None else {LABELS[0]: table.columns[label]})
