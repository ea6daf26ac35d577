"""What an evaluation found, as a user sees it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fptkit.engine.assessment.accumulate import assess
from fptkit.engine.assessment.records import SplitAssessed
from fptkit.errors import UsageError
from fptkit.inference.result import Evaluation, Part
from fptkit.interfaces import Classes, OutputKind, Values


def part(output: OutputKind, predictions: torch.Tensor, targets: torch.Tensor, **metrics: float) -> Part:
    found = SplitAssessed(
        size=len(targets),
        evaluated=len(targets),
        loss=1.0,
        loss_interval=None,
        unit=isinstance(output, Values),
        answers=assess(output, predictions, targets),
    )
    return Part(metrics, ("accuracy",), found)


BIRDS = part(
    Classes(2, names=("<b>wren</b>", "robin")),
    torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]]),
    torch.tensor([0, 1, 1]),
    loss=0.5,
    accuracy=2 / 3,
)


def test_classes() -> None:
    found = Evaluation({"test": BIRDS}, 2)
    np.testing.assert_array_equal(found.confusion, [[1, 0], [1, 1]])
    assert [row["class"] for row in found.per_class] == ["<b>wren</b>", "robin"]
    assert found.per_class[1]["recall"] == 0.5
    assert found.per_class[1]["precision"] == 1.0
    assert found.numbers == []
    assert str(found) == "test: 3 examples, loss 0.5000, accuracy 66.7%\nopened 2 times"
    json.dumps(found.content(), allow_nan=False)


def test_labels_have_a_row_each() -> None:
    output = Classes(2, per_token=2, names=("no", "yes"), answers=("red", "blue"))
    logits = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]], [[[0.0, 1.0], [0.0, 1.0]]]])
    found = part(output, logits, torch.tensor([[[1, 0]], [[0, 1]]]))
    figures = [(row["class"], row["support"], row["predicted"]) for row in found.per_class]
    assert figures == [("red", 1, 2), ("blue", 1, 1)]


def test_numbers() -> None:
    eggs = part(Values(1, names=("eggs",)), torch.tensor([[1.0], [4.0]]), torch.tensor([[1.0], [2.0]]))
    found = Evaluation({"f.csv": eggs})
    assert found.numbers == [
        {
            "name": "eggs",
            "mean_absolute_error": 1.0,
            "root_mean_squared_error": pytest.approx(2**0.5),
            "r2": pytest.approx(1 - 4 / 0.5),
            "bias": 1.0,
        }
    ]
    assert found.confusion is None
    assert found.per_class == []
    assert found.calibration_error is None
    assert found.calibration == []


def test_several_parts() -> None:
    found = Evaluation({"test_near": BIRDS, "test_far": BIRDS}, 1)
    with pytest.raises(UsageError, match=r"test_near, test_far.*parts\[NAME\]"):
        _ = found.metrics
    assert str(found).count("\n") == 2


def test_a_notebook_shows_names_as_text() -> None:
    shown = Evaluation({"<script>": BIRDS}, 1)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "66.7%" in shown
