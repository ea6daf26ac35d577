"""Examples, and the default answers of preparations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fptkit.errors import ShapeError
from fptkit.interfaces import Classes, Examples, Preparation, Values


class Answers(Preparation):
    numbers: int = 0
    names: tuple[str, ...] = ()

    @property
    def output(self) -> Classes | Values:
        return Values(self.numbers, names=self.names) if self.numbers else Classes(3, names=self.names)


def test_examples_are_taken_and_joined() -> None:
    one = Examples(["a", "b", "c"], ["1", "2", "3"], {"y": ["u", "v", "w"]}, {"g": ["p", "q", "r"]}, ("n",))
    taken = one.take(np.array([2, 0]))
    assert (taken.content, taken.names, taken.labels, taken.columns) == (
        ["c", "a"],
        ["3", "1"],
        {"y": ["w", "u"]},
        {"g": ["r", "p"]},
    )
    both = Examples.joined([one, Examples(["d"], ["4"], {"y": ["x"], "z": ["!"]}, notes=("n", "m"))])
    assert (both.content, both.labels, both.columns, both.notes) == (
        ["a", "b", "c", "d"],
        {"y": ["u", "v", "w", "x"]},
        {},
        ("n", "m"),
    )
    assert len(both) == 4


def test_arrays_stay_arrays() -> None:
    values = np.arange(12).reshape(4, 3)
    parts = [Examples(values[:2], ["1", "2"]), Examples(values[2:], ["3", "4"])]
    np.testing.assert_array_equal(Examples.joined(parts).take([3, 0]).content, values[[3, 0]])


def test_default_answers() -> None:
    (answer,) = Answers(names=("x", "y", "z")).answers(torch.tensor([[0.0, 1.0, 0.0]]))
    assert answer == {"class": "y", "probability": pytest.approx(np.e / (np.e + 2))}
    (answer,) = Answers().answers(torch.tensor([[[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]]]))
    assert answer["class"] == ["1", "0"]
    assert Answers(numbers=2, names=("a", "b")).answers(torch.tensor([[1.0, 2.0]])) == [{"a": 1.0, "b": 2.0}]
    assert Answers(numbers=1).answers(torch.tensor([[1.0]])) == [{"value_0": 1.0}]


def test_preparations_have_no_further_keys_and_finite_numbers() -> None:
    with pytest.raises(ValidationError):
        Answers.model_validate({"numbers": 1, "path": "x"})


@pytest.mark.parametrize("attribute", ["input", "max_tokens"])
def test_what_a_preparation_must_implement(attribute: str) -> None:
    with pytest.raises(NotImplementedError, match=attribute):
        getattr(Answers(), attribute)
    with pytest.raises(NotImplementedError, match="read"):
        Answers().read(["path:x"])
    with pytest.raises(NotImplementedError, match="prepare"):
        Answers().prepare(Examples([], []))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Classes(3, names=("a", "b")),
        lambda: Classes(2, per_token=2, answers=("a",)),
        lambda: Values(2, names=("a",)),
    ],
)
def test_names_are_complete(make: object) -> None:
    with pytest.raises(ShapeError, match="names for"):
        make()  # type: ignore[operator]
