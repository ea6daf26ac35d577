"""The preparation of texts: their tokenizer, or bytes, and what is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Classes, Examples, Metric, Preparation, Symbols, Values
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.sequences.alphabet import PAD, Alphabet
from fptkit.tasks.text.reader import find_texts, is_document, no_lists, read_document, read_texts
from fptkit.tasks.text.vocabulary import Vocabulary


class TextPreparation(Preparation):
    """How a text becomes tokens.

    Args:
        vocabulary: the tokenizer; None for bytes.
        target: what is predicted.
        longest: tokens of the longest training, validation or test text.
        max_length: longer texts are cut to their first tokens; None: they are an error.
        text: column of the texts in tables and JSON records.
        delimiter: character between the cells of a table; None to find it.
        header: whether the first line of a table has the column names.
        missing: cells that mean a missing label.
    """

    vocabulary: Vocabulary | None
    target: Target
    longest: int
    max_length: int | None
    text: str
    delimiter: str | None
    header: bool
    missing: tuple[str, ...]

    @property
    def input(self) -> Symbols:
        """Tokens of the tokenizer, or bytes."""
        if self.vocabulary is None:
            return Symbols(Alphabet(kind="bytes").size, PAD)
        return Symbols(max(self.vocabulary.size, 2), PAD, self.vocabulary.digest)

    @property
    def output(self) -> Classes | Values:
        """That of the target."""
        return self.target.output

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest text."""
        return self.longest

    def attachments(self) -> Mapping[str, bytes]:
        """See `fptkit.Preparation.attachments`: the tokenizer."""
        return {} if self.vocabulary is None else self.vocabulary.attachments()

    def attached(self, folder: Path) -> None:
        """See `fptkit.Preparation.attached`."""
        if self.vocabulary is not None:
            self.vocabulary.attached(folder)

    def read(self, source: Sequence[str]) -> Examples:
        """Read new texts; labels may be absent.

        Raises:
            DataError: a file cannot be read, or a table has no column of texts.
            SourceError: there is no such file.
        """
        files = find_texts({"all": tuple(source)}, own=False).files
        documents = [path for path in files if is_document(path)]
        parts = [self._read(path) for path in files if not is_document(path)]
        if documents:
            parts.append(Examples([read_document(path) for path in documents], [str(path) for path in documents]))
        return Examples.joined(parts)

    def _read(self, path: Path) -> Examples:
        table = read_texts(path, self.delimiter, header=self.header)
        table.need(self.text, "the trained model")
        no_lists(table, self.text)
        labels = {name: table.columns[name] for name in self.target.columns if name in table.columns}
        if len(labels) < len(self.target.columns) or all(c in self.missing for some in labels.values() for c in some):
            labels = {}
        return Examples(table.columns[self.text], [table.where(row) for row in range(len(table))], labels)

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Shapes: inputs (B, T).

        Raises:
            DataError: a text is empty or too long, or labels do not fit.
        """
        rows = [self._cut(ids, name) for ids, name in zip(self.tokens(examples), examples.names, strict=True)]
        lengths = np.array([len(ids) for ids in rows])
        inputs = np.full((len(rows), lengths.max()), PAD, np.int64)
        for row, ids in enumerate(rows):
            inputs[row, : len(ids)] = ids
        equal = bool((lengths == lengths[0]).all())
        lengths_or_none = None if equal else torch.from_numpy(lengths)
        return Batch(torch.from_numpy(inputs), self.target.encode(examples), lengths_or_none)

    def tokens(self, examples: Examples) -> list[list[int]]:
        """The tokens of texts, without begin and end, before they are cut.

        Raises:
            DataError: a text is empty.
        """
        for text, name in zip(examples.content, examples.names, strict=True):
            if not text:
                raise DataError(f"{name}: the text is empty; fill it in or remove it")
        if self.vocabulary is None:
            alphabet = Alphabet(kind="bytes")
            named = zip(examples.content, examples.names, strict=True)
            return [alphabet.encode(text, name).tolist() for text, name in named]
        return self.vocabulary.encode(list(examples.content), examples.names)

    @property
    def around(self) -> tuple[list[int], list[int]]:
        """Tokens before and after each text."""
        words = self.vocabulary
        begin, end = (None, None) if words is None else (words.begin, words.end)
        return [] if begin is None else [begin], [] if end is None else [end]

    def _cut(self, ids: list[int], name: str) -> list[int]:
        begin, end = self.around
        if self.max_length is not None:
            ids = ids[: self.max_length - len(begin) - len(end)]
        found = [*begin, *ids, *end]
        if not found:
            raise DataError(f"{name}: the tokenizer finds no token in this text; remove it, or set begin")
        if len(found) > self.longest and self.max_length is None:
            raise DataError(
                f"{name}: {len(found):,} tokens, but the longest text of the training data has {self.longest:,}; "
                "shorten it, or train with the option max_length, which cuts texts"
            )
        return found

    def metrics(self) -> Mapping[str, Metric]:
        """New metrics of the target."""
        return self.target.metrics()

    def answers(self, predictions: Any) -> list[dict[str, Any]]:
        """See `fptkit.Preparation.answers`."""
        return self.target.answers(predictions)
