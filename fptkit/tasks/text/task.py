"""The task ``text``: predict a class, labels or numbers from texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError, UsageError
from fptkit.interfaces import Examples, Preparation
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.own_data.task import OwnDataTask
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.paths import SourceFiles
from fptkit.tasks.reading.usual import TARGETS, usual_column
from fptkit.tasks.text.options import ENDINGS, TextOptions
from fptkit.tasks.text.preparation import TextPreparation
from fptkit.tasks.text.reader import (
    CLASS,
    TEXT_NAMES,
    classes_of,
    find_texts,
    is_document,
    no_lists,
    read_document,
    read_texts,
)
from fptkit.tasks.text.vocabulary import Vocabulary

_CHUNK = 4096
"""Texts that are tokenized at once to find the longest."""


class Text(OwnDataTask):
    """Predict something from texts, as tokens of the backbone's own tokenizer or as bytes.

    The default encoder is ``word_embeddings``: the frozen embeddings that the backbone was pretrained with.

    Args:
        options: see `TextOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used.

    Shapes: inputs (B, T) int64; targets as the target says.

    Raises:
        SourceError: a file does not exist, or there is no tokenizer.
        DataError: a file is damaged, a text is empty, or a label is unknown.
        UsageError: the options do not fit the data, or the backbone has no tokenizer and none is named.
    """

    name, endings, default_encoder = "text", ENDINGS, "word_embeddings"

    def __init__(self, options: TextOptions, *, seed: int, pinned: str | None = None) -> None:
        self._text = ""  # column of the texts
        self._notes: list[str] = []
        self._vocabulary: Vocabulary | None = None
        if options.bytes:
            self.default_encoder = "symbols"
        else:
            if not options.tokenizer:
                raise UsageError(
                    "task.tokenizer: the backbone has no tokenizer of its own; name weights that have one, such as "
                    "builtin:gpt2_nano, or set bytes: true"
                )
            self._vocabulary = Vocabulary.open(options.tokenizer, options.begin, options.end)
            self.content = {"tokenizer": self._vocabulary.digest}
        super().__init__(options, seed=seed, pinned=pinned)

    def find(self, options: TargetOptions) -> SourceFiles:
        """See `OwnDataTask.find`."""
        own = options.split.own and options.split.column is None
        return find_texts(options.source, own=own)

    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        """See `OwnDataTask.read_split`. Content: texts."""
        assert isinstance(options, TextOptions)
        paths = files.splits[split]
        parts = [self._read(path, options) for path in paths if not is_document(path)]
        if documents := [path for path in paths if is_document(path)]:
            parts.append(self._documents(documents, files.base, options))
        return Examples.joined(parts)

    def fit(
        self, examples: Examples, train: NDArray[np.int64], target: Target, options: TargetOptions
    ) -> TextPreparation:
        """See `OwnDataTask.fit`.

        Raises:
            DataError: a text is empty.
        """
        assert isinstance(options, TextOptions)
        preparation = TextPreparation(
            vocabulary=self._vocabulary,
            target=target,
            longest=1,
            max_length=options.max_length,
            text=self._text or "text",
            delimiter=options.delimiter,
            header=options.header,
            missing=options.missing,
        )
        chunks = [range(start, min(start + _CHUNK, len(examples))) for start in range(0, len(examples), _CHUNK)]
        counts = [len(ids) for chunk in chunks for ids in preparation.tokens(examples.take(chunk))]
        lengths = np.array(counts) + sum(map(len, preparation.around))
        self._note_lengths(lengths, options)
        longest = max(int(lengths.max()), 1)
        if options.max_length is not None:
            longest = min(longest, options.max_length)
        return preparation.model_copy(update={"longest": longest})

    def further_notes(self, preparation: Preparation, examples: Mapping[str, Examples]) -> Sequence[str]:
        """The tokenizer, lengths, and what was cut or passed over."""
        return list(dict.fromkeys(self._notes))

    def _note_lengths(self, lengths: NDArray[np.int64], options: TextOptions) -> None:
        words = self._vocabulary
        what = "bytes" if words is None else f"tokens of {words.source} (vocabulary of {words.size:,})"
        self._notes.append(f"texts: median {int(np.median(lengths)):,}, at most {int(lengths.max()):,} {what}")
        if options.max_length is not None and (cut := int((lengths > options.max_length).sum())):
            self._notes.append(f"{cut:,} texts are cut to their first {options.max_length:,} tokens (max_length)")

    def _read(self, path: Path, options: TextOptions) -> Examples:
        table = read_texts(path, options.delimiter, header=options.header)
        if not self._text:
            self._text = options.text or self._text_column(table, options)
        table.need(self._text, "task.text")
        no_lists(table, self._text)
        split = [name for name in (options.split.group, options.split.time, options.split.column) if name]
        rest = [name for name in table.columns if name not in (self._text, *split)]
        targets = options.target or (usual_column(rest, TARGETS, "task.target", table.name, "labels"),)
        for name in (*targets, *split):
            table.need(name, "task.target" if name in targets else "task.split")
        return Examples(
            table.columns[self._text],
            [table.where(row) for row in range(len(table))],
            {name: table.columns[name] for name in targets},
            {name: table.columns[name] for name in split},
            table.notes,
        )

    def _text_column(self, table: TextTable, options: TextOptions) -> str:
        rest = [name for name in table.columns if name not in options.target]
        return usual_column(rest, TEXT_NAMES, "task.text", table.name, "texts")

    def _documents(self, paths: Sequence[Path], base: Mapping[Path, Path], options: TextOptions) -> Examples:
        """Texts of class folders; files in no class folder, such as a README, are passed over."""
        classes = dict(zip(paths, classes_of(paths, base), strict=True))
        chosen = [path for path in paths if classes[path] is not None]
        if not chosen:
            raise DataError(
                f"{paths[0]}: a text file in no class folder has no label; put the files of each class in a folder, or "
                "write a table of texts and labels"
            )
        if rest := len(paths) - len(chosen):
            self._notes.append(f"{rest:,} text files in no class folder are passed over")
        column = options.target[0] if options.target else CLASS
        labels = {column: [str(classes[path]) for path in chosen]}
        return Examples([read_document(path) for path in chosen], [str(path) for path in chosen], labels)
