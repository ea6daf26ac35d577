"""A label for each symbol of a sequence: the target of tagging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import IGNORED, Examples, Metric, TokenClasses
from fptkit.tasks.own_data.metrics import MacroF1
from fptkit.tasks.reading.json_lines import LIST
from fptkit.tasks.reading.labels import find_classes, same_label, shown
from fptkit.tasks.reading.numbers import short


class Tags(BaseModel):
    """What is predicted in tagging, fitted to the training data; a part of a preparation.

    Args:
        columns: the target column.
        names: names of the classes.
        separator: what separates the labels of a sequence; empty if each character is one.
        unlabelled: labels that mean no label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["tags"] = "tags"
    columns: tuple[str, ...]
    names: tuple[str, ...]
    separator: str
    unlabelled: tuple[str, ...]

    @property
    def output(self) -> TokenClasses:
        """A class at every token."""
        return TokenClasses(len(self.names), self.names)

    def encode(self, examples: Examples) -> Tensor:
        """The classes of all labelled symbols of all examples, one after the other. Shapes: -> (N,) int64.

        Raises:
            DataError: a label is unknown.
        """
        cells = examples.labels[self.columns[0]]
        counts: Counter[int] = Counter()
        for cell, name in zip(cells, examples.names, strict=True):
            counts.update(self._numbers(cell, name))
        del counts[IGNORED]
        numbers = sorted(counts)
        return torch.repeat_interleave(torch.tensor(numbers), torch.tensor([counts[number] for number in numbers]))

    def padded(self, examples: Examples, lengths: Sequence[int], tokens: int) -> Tensor:
        """Targets of a batch. Of unlabelled examples, 0 at every symbol. Shapes: -> (B, T) int64.

        Args:
            examples: with or without labels.
            lengths: symbols of each, before they are cut.
            tokens: T, symbols of the longest example after it is cut.

        Raises:
            DataError: a sequence has another number of labels than of symbols, no label, or an unknown one.
        """
        found = torch.full((len(examples), tokens), IGNORED)
        cells = examples.labels.get(self.columns[0])
        for row, (length, name) in enumerate(zip(lengths, examples.names, strict=True)):
            if cells is None:
                found[row, :length] = 0
                continue
            numbers = self._numbers(cells[row], name)
            if len(numbers) != length:
                raise DataError(
                    f"{name}: {len(numbers):,} labels for {length:,} symbols; tagging needs one for each, "
                    f"{self.unlabelled[0]!r} for none"
                    if self.unlabelled
                    else f"{name}: {len(numbers):,} labels for {length:,} symbols; tagging needs one for each"
                )
            if all(number == IGNORED for number in numbers[:tokens]):
                raise DataError(f"{name}: no symbol has a label; remove the sequence")
            found[row, : min(length, tokens)] = torch.tensor(numbers[:tokens])
        return found

    def metrics(self) -> dict[str, Metric]:
        """New metrics by name: accuracy of labelled symbols, and the mean F1 of the classes."""
        return {**self.output.metrics(), "macro_f1": MacroF1(len(self.names))}

    def majority(self, targets: Mapping[str, Tensor]) -> dict[str, float]:
        """For each split, the accuracy of the most frequent class of ``train``; see `encode` for the targets."""
        commonest = int(torch.bincount(targets["train"]).argmax())
        return {name: float((values == commonest).double().mean()) for name, values in targets.items()}

    def answers(self, predictions: Tensor) -> list[dict[str, Any]]:
        """The classes of each symbol in words, and their probabilities.

        Args:
            predictions: (B, T, K) logits; padding is included.
        """
        best = predictions.double().cpu().softmax(-1).max(-1)
        return [
            {"classes": [self.names[place] for place in row], "probabilities": chances}
            for row, chances in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def _numbers(self, cell: str, where: str) -> list[int]:
        found = []
        for place, label in enumerate(divided(cell, self.separator), start=1):
            number = IGNORED if is_unlabelled(label, self.unlabelled) else self._places.get(same_label(label))
            if number is None:
                raise DataError(
                    f"{where}: unknown label {short(label)} at symbol {place:,}; the model knows {shown(self.names)}"
                )
            found.append(number)
        return found


def divided(cell: str, separator: str) -> Sequence[str]:
    """The labels in a cell."""
    return cell.split(separator) if separator else cell


def is_unlabelled(label: str, unlabelled: Sequence[str]) -> bool:
    """Whether a label means that there is none; null in a JSON list does."""
    return not label.strip() or label in unlabelled


def fit_tags(
    examples: Examples, separator: str | None, unlabelled: Sequence[str]
) -> tuple[Tags, tuple[str, ...], tuple[str, ...]]:
    """Find the classes of tagging; arguments and result as for `fptkit.tasks.own_data.target.fit_target`.

    Args:
        examples: labelled examples of all splits.
        separator: what separates labels; None for nothing, or for JSON lists.
        unlabelled: labels that mean no label.

    Raises:
        DataError: labels are missing, or there are fewer than two classes.
    """
    [(column, cells)] = examples.labels.items()
    for cell, name in zip(cells, examples.names, strict=True):
        if not cell:
            raise DataError(f"{name}: the target '{column}' is missing; fill it in or remove the sequence")
    separator = separator or (LIST if any(LIST in cell for cell in cells) else "")
    counts: Counter[str] = Counter()
    for cell in cells:
        counts.update(divided(cell, separator))
    without = sum(count for label, count in counts.items() if is_unlabelled(label, unlabelled))
    labels = [label for label in counts if not is_unlabelled(label, unlabelled)]
    found = find_classes(labels, f"target '{column}'")
    tags = Tags(columns=(column,), names=found.names, separator=separator, unlabelled=tuple(unlabelled))
    notes = [*found.notes, f"target: {len(found.names)} classes, one for each symbol ({shown(found.names)})"]
    if without:
        notes.append(f"{without:,} of {sum(counts.values()):,} symbols have no label and do not count")
    return tags, tuple(notes), found.warnings
