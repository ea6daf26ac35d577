"""Preparation: what a run keeps of its training data, so that new inputs can be prepared without them.

Training and prediction use the same code: a task reads `Examples`, fits its `Preparation` to those of ``train``, and
makes the batches of all splits by `Preparation.prepare`. The run writes the preparation into its folder as
``preparation.json``. Later, that file alone reads and prepares new, unlabelled files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fptkit.interfaces.answer_kind import AnswerKind
from fptkit.interfaces.batch import Batch
from fptkit.interfaces.metrics import Metric
from fptkit.interfaces.mixed import InputKind
from fptkit.interfaces.shown import Shown


@dataclass(frozen=True)
class Examples:
    """Examples as they were read, before preparation.

    Args:
        content: one entry per example, in the form that the format's `Preparation` takes: texts, arrays, paths, rows.
        names: what each example is called in messages and predictions: ``FILE:LINE`` or a path.
        labels: for each target its cells, one per example, as written; empty for unlabelled examples. A class folder is
            one target; a table may have several target columns.
        columns: further cells of the examples by column, for splits by group, time or column.
        notes: what the run header should say about them.

    Example:
        >>> import fptkit
        >>> examples = fptkit.Examples(["ACGT", "GGA"], ["a.csv:2", "a.csv:3"], labels={"class": ["yes", "no"]})
        >>> examples.take([1]).names
        ['a.csv:3']
    """

    content: Sequence[Any] | NDArray[Any]
    names: Sequence[str]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Examples:
        """The examples with these indices, in this order."""
        rows = [int(row) for row in rows]
        taken = self.content[rows] if isinstance(self.content, np.ndarray) else [self.content[row] for row in rows]
        return replace(
            self,
            content=taken,
            names=[self.names[row] for row in rows],
            labels={name: [cells[row] for row in rows] for name, cells in self.labels.items()},
            columns={name: [cells[row] for row in rows] for name, cells in self.columns.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """Several examples one after the other; what only some of them have is left out."""
        first = parts[0]
        if len(parts) == 1:
            return first
        content: Any = [entry for part in parts for entry in part.content]
        if all(isinstance(part.content, np.ndarray) for part in parts):
            content = np.concatenate([part.content for part in parts])
        return cls(
            content,
            [name for part in parts for name in part.names],
            _joined_columns([part.labels for part in parts]),
            _joined_columns([part.columns for part in parts]),
            tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        )


def _joined_columns(parts: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    common = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: [cell for part in parts for cell in part[name]] for name in common}


class Preparation(BaseModel):
    """Base of preparations: class names, scaling, alphabet, columns, sizes, as plain fields, saved as JSON.

    A subclass declares fields with everything that `read` and `prepare` need, and no path of the training data. It is
    named in ``TaskSpec.preparation``. Fields are plain data (numbers, text, tuples, mappings, nested models), so that
    what is read back equals what was saved.

    Example:
        >>> import fptkit, torch
        >>> class Letters(fptkit.Preparation):
        ...     alphabet: str
        ...     def prepare(self, examples):
        ...         rows = [[self.alphabet.index(letter) for letter in text] for text in examples.content]
        ...         return fptkit.Batch(torch.tensor(rows), torch.zeros(len(rows), dtype=torch.int64))
        >>> Letters(alphabet="ACGT").prepare(fptkit.Examples(["GA"], ["first"])).inputs.tolist()
        [[2, 0]]
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def input(self) -> InputKind:
        """Kind of the prepared inputs, as ``Task.input``. Subclasses implement it.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement input")

    @property
    def output(self) -> AnswerKind:
        """Kind of the answers, with names, as ``Task.output``. Subclasses implement it.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement output")

    @property
    def max_tokens(self) -> int:
        """T, raw tokens of the longest example that is not cut, as ``Task.max_tokens``. Subclasses implement it.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement max_tokens")

    def read(self, source: Sequence[str]) -> Examples:
        """Read new examples, labelled or not, from files in the format of the training data. Subclasses implement it.

        Args:
            source: entries ``path:FILE_OR_FOLDER``, all of which are read.

        Raises:
            FptkitError: they cannot be read, or do not fit the training data, such as a table without a column.
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement read({source!r})")

    def prepare(self, examples: Examples) -> Batch:
        """Prepare examples as in training, without randomness. Subclasses implement it.

        What an example becomes must not depend on the others of the batch, except for padding. Targets are those of
        ``examples.labels``; without labels they are zeros in the shape that ``output`` declares.

        Args:
            examples: at least one.

        Raises:
            FptkitError: an example cannot be prepared, such as one with an unknown symbol; the message begins with its
                name.
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement prepare({len(examples)} examples)")

    def show(self, content: Any) -> Shown | None:
        """Return an example in a form for people, without its name; None: its tokens are shown.

        By default, a text is shown as it is. Subclasses with other content override it.

        Args:
            content: an entry of ``Examples.content``.

        Raises:
            FptkitError: it cannot be read any more.
        """
        return Shown(text=content) if isinstance(content, str) else None

    def attachments(self) -> Mapping[str, bytes]:
        """The content of files that belong to it, by name, such as a tokenizer; by default none.

        A run folder has them beside ``preparation.json``. Fields must have their digests.
        """
        return {}

    def attached(self, folder: Path) -> None:
        """Take the files of `attachments` from a run folder; called when it was read from there.

        Raises:
            DataError: one is missing, or is another one than when it was saved.
        """

    def labelled_batches(self, examples: Examples, size: int) -> Iterator[Batch] | None:
        """The batches on which labelled examples are evaluated, if an example has several answers, as a series has
        several windows; None (the default): each example is evaluated as `prepare` makes it.

        Args:
            examples: at least one.
            size: examples of a batch.

        Raises:
            FptkitError: an example cannot be prepared.
        """
        return None

    @property
    def scale_varies(self) -> bool:
        """Whether the scale of predicted numbers depends on the example, so that `answers` alone does not know the unit
        of the data; by default false."""
        return False

    def metrics(self) -> Mapping[str, Metric]:
        """New metrics by name, as ``Task.metrics``; by default those of the kind of answers."""
        return self.output.metrics()

    def answers_to(self, examples: Examples, predictions: Any) -> list[dict[str, Any]]:
        """Predictions for these examples in the words and units of the data; by default, `answers`.

        A preparation whose scale depends on the example, such as that of a window, overrides it.

        Args:
            examples: N examples, as they were read.
            predictions: logits or numbers of these examples, as the head gives them, a tensor.
        """
        return self.answers(predictions)

    def answers(self, predictions: Any) -> list[dict[str, Any]]:
        """Predictions in the words and units of the data, one mapping per example.

        By default those of the kind of answers: for classes ``{"class": name or number, "probability": p}``, and for
        numbers ``{name: value}`` in the model's scale. Subclasses with scaled targets or several labels override it.

        Args:
            predictions: logits or numbers of N examples, as the head gives them, a tensor.
        """
        return self.output.in_words(predictions)
