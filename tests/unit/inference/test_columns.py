"""Predictions as columns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fptkit.inference.columns import predicted
from fptkit.inference.inputs import NamedBatch
from fptkit.interfaces import Batch, Classes, OutputKind, Task, TokenClasses, Values, Vectors


def columns(output: OutputKind, outputs: list[torch.Tensor], *, probabilities: bool = False) -> dict[str, Any]:
    task = Task()
    task.input, task.output, task.max_tokens = Vectors(1), output, 4
    names = [f"e{number}" for number in range(len(outputs))]
    batch = Batch(torch.zeros(len(outputs), 4, 1), torch.zeros(len(outputs)))
    return predicted(task, NamedBatch(names, batch, None), outputs, probabilities=probabilities)


def test_one_class() -> None:
    found = columns(Classes(2, names=("no", "yes")), [torch.tensor([0.0, math.log(3)])], probabilities=True)
    assert found["example"] == ["e0"]
    assert found["class"] == ["yes"]
    assert found["probability"] == pytest.approx([0.75])
    assert found["probability_no"] == pytest.approx([0.25])
    assert list(found) == ["example", "class", "probability", "probability_no", "probability_yes"]


def test_classes_without_names_are_numbers() -> None:
    assert columns(Classes(3), [torch.tensor([0.0, 2.0, 1.0])])["class"] == [1]


def test_labels() -> None:
    output = Classes(2, per_token=2, names=("no", "yes"), answers=("red", "blue"))
    found = columns(output, [torch.tensor([[[1.0, 0.0], [0.0, math.log(4)]]])], probabilities=True)
    assert (found["red"], found["blue"]) == ([0], [1])
    assert found["probability_blue"] == pytest.approx([0.8])
    one = Classes(2, names=("no", "yes"), answers=("red",))
    assert columns(one, [torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])])["red"] == [1, 0]


def test_several_answers_are_nested_lists() -> None:
    logits = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    assert columns(Classes(2, tokens=2), [logits[0]])["class"] == [[1, 0]]
    assert columns(Classes(2, tokens=2, per_token=2), [logits])["class"] == [[[1, 0], [1, 1]]]


def test_a_class_at_every_token_of_examples_of_different_lengths() -> None:
    found = columns(TokenClasses(2, ("H", "E")), [torch.eye(2), torch.eye(2)[:1]], probabilities=True)
    assert found["class"] == [["H", "E"], ["H"]]
    assert [len(some) for some in found["probability_E"]] == [2, 1]


def test_numbers_without_units() -> None:
    assert columns(Values(2), [torch.tensor([1.5, -2.0])]) == {"example": ["e0"], "value_0": [1.5], "value_1": [-2.0]}


def test_no_column_hides_another() -> None:
    output = Classes(2, per_token=2, names=("no", "yes"), answers=("example", "probability_example"))
    found = columns(output, [torch.zeros(1, 2, 2)], probabilities=True)
    assert list(found)[:3] == ["example", "example_", "probability_example"]
    assert len(found) == 5
