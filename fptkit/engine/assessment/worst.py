"""The examples of a split with the largest loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fptkit.engine.assessment.contents import content_of, tokens_of
from fptkit.engine.assessment.records import Content, Mistake
from fptkit.engine.assessment.units import Unit
from fptkit.errors import FptkitError
from fptkit.interfaces import IGNORED, Batch, Task

WORST = 12
"""How many examples are kept."""

ANSWERS = 512
"""Answers of an example that are listed."""


@dataclass(frozen=True)
class Candidate:
    """An example that may be one of the worst.

    Args:
        loss: of the example.
        row: its index in the split; None if it was generated.
        inputs: its inputs as a batch of size 1, without padding.
        predictions: of the model, for this example.
        targets: of this example.
    """

    loss: float
    row: int | None
    inputs: Any
    predictions: Tensor
    targets: Tensor

    @property
    def order(self) -> tuple[float, int]:
        """The worst first; of equal ones, the first of the split."""
        return -self.loss, -1 if self.row is None else self.row


def worst_of(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The worst candidates, each example of the split once."""
    found: list[Candidate] = []
    seen: set[int] = set()
    for one in sorted(candidates, key=lambda one: one.order):
        if one.row is None or one.row not in seen:
            found.append(one)
            seen |= set() if one.row is None else {one.row}
    return found[:WORST]


class WorstExamples:
    """Keeps the worst examples of the batches of one process.

    Args:
        task: says what inputs and answers are.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.kept: list[Candidate] = []

    def add(self, batch: Batch, predictions: Tensor, losses: Tensor) -> None:
        """Look at a batch.

        Args:
            batch: on the CPU.
            predictions: of the model, on the CPU.
            losses: (B,) of each example; NaN for one that does not count.
        """
        wrong = _wrong(self._task, batch.targets, predictions) & losses.isfinite()
        least = self.kept[-1].loss if len(self.kept) == WORST else -math.inf
        chosen = torch.nonzero(wrong & (losses > least)).flatten()
        chosen = chosen[losses[chosen].argsort(descending=True, stable=True)][:WORST]
        if len(chosen):
            more = [self._candidate(batch, predictions, int(row), float(losses[row])) for row in chosen]
            self.kept = worst_of([*self.kept, *more])

    def _candidate(self, batch: Batch, predictions: Tensor, row: int, loss: float) -> Candidate:
        length = None if batch.lengths is None else batch.lengths[row]
        inputs = self._task.input.example(batch.inputs, row, length)
        answered = slice(None)
        if self._task.output.each_token and length is not None:
            answered = slice(int(length))
        return Candidate(
            loss,
            None if batch.rows is None else int(batch.rows[row]),
            {name: part.clone() for name, part in inputs.items()} if isinstance(inputs, dict) else inputs.clone(),
            predictions[row][answered].clone(),
            batch.targets[row][answered].clone() if batch.targets.ndim > 1 else batch.targets[row].clone(),
        )


def _wrong(task: Task, targets: Tensor, predictions: Tensor) -> Tensor:
    """Whether an example has a wrong answer; what is no class always has. Shapes: -> (B,) bool."""
    seen = task.output.seen(predictions, targets)
    if seen is None or seen.targets is None or seen.targets.is_floating_point():
        return torch.ones(len(targets), dtype=torch.bool)
    wrong = (seen.predictions.argmax(-1) != seen.targets) & (seen.targets != IGNORED)
    return wrong.flatten(1).any(1) if wrong.ndim > 1 else wrong


def mistake(task: Task, split: str, one: Candidate, unit: Unit | None) -> Mistake:
    """An example in the form in which it is saved.

    Args:
        task: shows the example.
        split: name of the split.
        one: the example.
        unit: of numbers; None for the scale of the model.
    """
    name, content = _content(task, split, one)
    confidence: tuple[float, ...] = ()
    seen = task.output.seen(one.predictions[None], one.targets[None])
    predictions, targets = (one.predictions, one.targets) if seen is None else (seen.predictions, seen.targets)
    assert targets is not None, "they were given"
    if targets.is_floating_point():
        known = ~targets.isnan()
        numbers = [some.double()[known].reshape(1, -1) for some in (targets, predictions)]
        true, predicted = (_listed(some if unit is None else unit.of(some)) for some in numbers)
    elif seen is None:
        true, predicted = _listed(targets), _listed(predictions.double())
    else:
        chances = predictions.double().reshape(-1, predictions.shape[-1]).softmax(-1).max(-1)
        true, predicted = _listed(targets), _listed(chances.indices)
        confidence = tuple(round(chance, 4) for chance in chances.values[:ANSWERS].tolist())
    return Mistake(
        index=one.row,
        name=name,
        loss=float(f"{one.loss:.6g}"),
        true=true,
        predicted=predicted,
        confidence=confidence,
        answers=targets.numel(),
        content=content,
    )


def _listed(values: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values.flatten()[:ANSWERS].tolist())


def _content(task: Task, split: str, one: Candidate) -> tuple[str, Content]:
    """Name and content: as the task shows it, or else its tokens."""
    try:
        shown = None if one.row is None else task.show(split, one.row)
    except (FptkitError, OSError):  # the file is gone; the result of the run does not depend on it
        shown = None
    if shown is None:
        return "", tokens_of(task.input, one.inputs)
    return shown.name, content_of(shown)
