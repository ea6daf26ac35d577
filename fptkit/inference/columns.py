"""Predictions as columns of a table: one row per example, in the words and units of the data. The same in all formats.

| answers | columns, after ``example`` |
|---|---|
| one class | ``class``, ``probability`` of it |
| several labels | one per label, 1 or 0 |
| numbers | one per number; at every token, with a list |
| several classes, or a class at every token | ``class`` and ``probability`` with a list, nested for several per token |
| an order | ``first``, the item that comes first, and ``order`` and ``scores`` with a list |
| another kind, of a plugin | those of its `fptkit.AnswerKind.in_words` |

With probabilities also ``probability_NAME`` for each class or label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fptkit.errors import PluginError
from fptkit.inference.inputs import NamedBatch
from fptkit.interfaces import AnswerKind, Classes, Examples, Preparation, Task, TokenClasses, Values

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
    if not output.has_probabilities:
        return {EXAMPLE: list(given.names), **_distinct(_of_answers(answers_of(task, given, outputs)))}
    kind, outputs = as_classes(output, outputs)
    if isinstance(kind, Classes) and kind.answers:
        return {EXAMPLE: list(given.names), **_distinct(_of_labels(kind, outputs, probabilities=probabilities))}
    return {EXAMPLE: list(given.names), **_distinct(_of_classes(kind, outputs, probabilities=probabilities))}


def as_classes(output: AnswerKind, outputs: Sequence[Tensor]) -> tuple[Classes | TokenClasses, list[Tensor]]:
    """Predictions of a kind that has probabilities, in the form of classes.

    Args:
        output: kind of the answers.
        outputs: what the head gives for each example.

    Raises:
        PluginError: the kind says that it has probabilities, but not of which classes.
    """
    seen = [output.seen(row[None]) for row in outputs]
    kinds = [one.kind for one in seen if one is not None]
    if not kinds or not isinstance(kinds[0], (Classes, TokenClasses)):
        raise PluginError(
            f"kind of answers {type(output).__name__}: has_probabilities is true, but seen() gives no classes; return "
            "fptkit.Seen(fptkit.Classes(...), logits, targets), or set it to false"
        )
    return kinds[0], [one.predictions[0] for one in seen if one is not None]


def answers_of(task: Task, given: NamedBatch, outputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Predictions in words, one mapping for each example: those of the preparation, or of the kind of answers.

    Args:
        task: kind of the answers, and their words and units.
        given: the examples.
        outputs: what the head gives for each, without padding.
    """
    if task.preparation is None or given.examples is None:
        return [answer for row in outputs for answer in task.output.in_words(row[None])]
    if not task.output.each_token:
        return task.preparation.answers_to(given.examples, torch.stack(list(outputs)))
    return [
        answer
        for place, row in enumerate(outputs)
        for answer in task.preparation.answers_to(given.examples.take([place]), row[None])
    ]


def _of_answers(answers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    for name in answers[0]:
        yield name, [answer[name] for answer in answers]


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


def _named(output: AnswerKind, places: Any) -> Any:
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
