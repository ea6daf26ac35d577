"""Metrics of labels and tags, compared with scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import f1_score

from fptkit.errors import ShapeError
from fptkit.tasks.own_data.metrics import MacroF1


def test_macro_f1_over_batches_is_that_of_scikit_learn() -> None:
    chance = torch.Generator().manual_seed(0)
    metric = MacroF1(5)
    logits, targets = torch.randn(90, 5, generator=chance), torch.randint(4, (90,), generator=chance)
    logits[:, 4] = -9  # a class that neither occurs nor is predicted does not count
    for start in range(0, 90, 40):
        metric.update(logits[start : start + 40], targets[start : start + 40])
    assert metric.compute() == pytest.approx(f1_score(targets, logits.argmax(-1), average="macro"))
    metric.reset()
    assert math.isnan(metric.compute())
    metric.update(torch.eye(5), torch.arange(5))
    assert metric.to(torch.device("cpu")).compute() == 1.0


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="MacroF1: predictions"):
        MacroF1(3).update(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
