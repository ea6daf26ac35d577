"""Answers that are numbers: against scikit-learn and naive NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fptkit.engine.assessment.accumulate import assess
from fptkit.engine.assessment.numbers import OUTPUTS, POINTS, NumberAssessment
from fptkit.interfaces import Values

metrics = pytest.importorskip("sklearn.metrics")


def numbers(count: int, width: int, offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    true = torch.randn(count, width, generator=chance, dtype=torch.float64) * torch.arange(1, width + 1) + offset
    return true + 0.3 + torch.randn(count, width, generator=chance, dtype=torch.float64), true


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_errors_are_those_of_scikit_learn(offset: float) -> None:
    predicted, true = numbers(80, 3, offset)
    found = NumberAssessment(Values(3, names=("a", "b", "c")))
    for start in range(0, 80, 9):  # in batches
        found.update(predicted[start : start + 9], true[start : start + 9])
    ours = found.result()
    for number, one in enumerate(ours.outputs):
        pair = true[:, number].numpy(), predicted[:, number].numpy()
        assert one.absolute == pytest.approx(metrics.mean_absolute_error(*pair))
        assert one.squared == pytest.approx(metrics.mean_squared_error(*pair))
        assert one.r2 == pytest.approx(metrics.r2_score(*pair), rel=1e-6)
        assert one.bias == pytest.approx((pair[1] - pair[0]).mean())
        assert one.name == "abc"[number]
    assert ours.absolute == pytest.approx(metrics.mean_absolute_error(true.numpy(), predicted.numpy()))
    assert ours.squared == pytest.approx(metrics.mean_squared_error(true.numpy(), predicted.numpy()))
    assert ours.root == pytest.approx(metrics.mean_squared_error(true.numpy(), predicted.numpy()) ** 0.5)
    each = (predicted - true).abs().mean(1).numpy()
    half = 1.959964 * each.std(ddof=1) / np.sqrt(80)
    assert ours.absolute_interval == pytest.approx((each.mean() - half, each.mean() + half))


def test_points_are_even_over_all_examples_in_any_batches() -> None:
    true = torch.arange(5000.0).unsqueeze(1)
    together = assess(Values(1), true + 1, true)
    apart = NumberAssessment(Values(1))
    for start in range(0, 5000, 33):
        apart.update(true[start : start + 33] + 1, true[start : start + 33])
    assert apart.result().points == together.points
    kept = [point[0] for point in together.points[0]]
    assert POINTS / 2 < len(kept) <= POINTS
    assert len(set(np.diff(kept))) == 1
    assert kept[0] == 0
    assert kept[-1] > 4900


def test_several_tokens_have_names_each() -> None:
    predicted, true = numbers(4, 6)
    found = assess(Values(2, tokens=3), predicted.reshape(4, 3, 2), true.reshape(4, 3, 2))
    assert [one.name for one in found.outputs][:3] == ["value 1 at token 1", "value 2 at token 1", "value 1 at token 2"]


def test_too_many_numbers_have_common_figures_only() -> None:
    predicted, true = numbers(3, OUTPUTS + 1)
    found = assess(Values(OUTPUTS + 1), predicted, true)
    assert found.outputs == found.points == ()
    assert found.squared == pytest.approx(float((predicted - true).square().mean()))


def test_equal_targets_have_no_r2() -> None:
    found = assess(Values(1), torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [3.0]]))
    assert found.outputs[0].r2 is None


def test_predictions_that_are_not_finite_are_left_out() -> None:
    predicted, true = numbers(5, 1)
    predicted[2] = float("inf")
    found = assess(Values(1), predicted, true)
    assert (found.examples, found.left_out) == (4, 1)


def test_one_example_has_no_interval_and_none_no_figures() -> None:
    predicted, true = numbers(1, 1)
    assert assess(Values(1), predicted, true).absolute_interval is None
    assert np.isnan(NumberAssessment(Values(1)).result().squared)
