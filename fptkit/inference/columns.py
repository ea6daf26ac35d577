"""Predictions as columns of a table: one row per example, in the words and units of the data. The same in all formats.

| answers | columns, after ``example`` |
|---|---|
| one class | ``class``, ``probability`` of it |
| several labels | one per label, 1 or 0 |
| numbers | one per number |
| several classes, or a class at every token | ``class`` and ``probability`` with a list, nested for several per token |

With probabilities also ``probability_NAME`` for each class or label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fptkit.inference.inputs import NamedBatch
from fptkit.interfaces import Classes, Examples, OutputKind, Preparation, Task, TokenClasses, Values

EXAMPLE = "example"
"""The first column: what each example is called."""

Columns = dict[str, list[Any]]
"""Cells by column: text, int, float, or lists of them."""


def predicted(task: Task, given: NamedBatch, outputs: Sequence[Tensor], *, probabilities: bool) -> Columns:
    """The columns of a batch.

    Args:
        task: kind of the answers, and their words and units.
        given: the examples.
        outputs: what the head gives for each, without padding.
        probabilities: whether to add the probability of every class or label.
    """
    output = task.output
    if isinstance(output, Values):
        found = numbers(task.preparation, output, given.examples, outputs)
        return {EXAMPLE: list(given.names), **_distinct(found)}
    if isinstance(output, Classes) and output.answers:
        return {EXAMPLE: list(given.names), **_distinct(_of_labels(output, outputs, probabilities=probabilities))}
    return {EXAMPLE: list(given.names), **_distinct(_of_classes(output, outputs, probabilities=probabilities))}


def numbers(
    preparation: Preparation | None, output: Values, examples: Examples | None, outputs: Sequence[Tensor]
) -> dict[str, list[float]]:
    """Predicted numbers by name, in the units of the data.

    Args:
        preparation: knows the units; None for those of the model.
        output: kind of the answers.
        examples: the examples as they were read; None if they were given prepared.
        outputs: what the head gives for each.
    """
    stacked = torch.stack(list(outputs))
    if preparation is None:
        names = [f"value_{place}" for place in range(stacked[0].numel())]
        return dict(zip(names, stacked.flatten(1).double().T.tolist(), strict=True))
    answers = preparation.answers(stacked) if examples is None else preparation.answers_to(examples, stacked)
    return {name: [float(answer[name]) for answer in answers] for name in answers[0]}


def chances(logits: Tensor) -> Tensor:
    """Probabilities of logits, float64. Shapes: (..., K) -> (..., K)."""
    return logits.double().softmax(-1)


def _of_labels(output: Classes, outputs: Sequence[Tensor], *, probabilities: bool) -> list[tuple[str, list[Any]]]:
    stacked = torch.stack(list(outputs)).reshape(len(outputs), -1, 2)
    said = stacked.argmax(-1).T.tolist()
    found = list(zip(output.answers, said, strict=True))
    if not probabilities:
        return found
    present = chances(stacked)[..., 1].T.tolist()
    return [*found, *((f"probability_{name}", some) for name, some in zip(output.answers, present, strict=True))]


def _of_classes(
    output: Classes | TokenClasses, outputs: Sequence[Tensor], *, probabilities: bool
) -> list[tuple[str, list[Any]]]:
    each = [chances(logits) for logits in outputs]
    best = [some.max(-1) for some in each]
    said = [_named(output, some.indices.tolist()) for some in best]
    found: list[tuple[str, list[Any]]] = [("class", said), ("probability", [some.values.tolist() for some in best])]
    if not probabilities:
        return found
    names = output.names or tuple(map(str, range(output.count)))
    return [
        *found,
        *((f"probability_{name}", [some[..., place].tolist() for some in each]) for place, name in enumerate(names)),
    ]


def _named(output: OutputKind, places: Any) -> Any:
    """Names of classes, or their numbers if they have none, in lists as the places."""
    if isinstance(places, list):
        return [_named(output, place) for place in places]
    return output.names[places] if output.names else places


def _distinct(columns: Mapping[str, list[Any]] | Iterable[tuple[str, list[Any]]]) -> Columns:
    """Columns of different names, of which none is that of the examples: others get ``_`` behind."""
    found: Columns = {}
    for name, cells in columns.items() if isinstance(columns, Mapping) else columns:
        while name in found or name == EXAMPLE:
            name += "_"
        found[name] = cells
    return found
