"""Losses against torch's own, their mean over examples, and losses that are none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from fptkit.engine.training import losses, options
from fptkit.engine.training.losses import ChosenLoss
from fptkit.errors import PluginError
from fptkit.interfaces import IGNORED, Batch, Classes, TokenClasses, Values
from fptkit.options import Options
from fptkit.specs import LossSpec

SPEC = LossSpec(name="mine", summary="x", target="a:b", accepts=("classes",))
LOGITS = torch.randn((6, 4), generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 3, 2, 1, 0, 0])


def mean(each: Any, output: Any, predictions: torch.Tensor, targets: torch.Tensor) -> float:
    return float(ChosenLoss(SPEC, each, output)(predictions, Batch(torch.zeros(len(targets), 1, 1), targets)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_is_that_of_the_paper(smoothing: float) -> None:
    each = losses.cross_entropy(options.CrossEntropyOptions(label_smoothing=smoothing), output=Classes(4))
    wanted = (1 - smoothing) * functional.one_hot(TARGETS, 4) + smoothing / 4
    expected = -(wanted * LOGITS.log_softmax(-1)).sum(-1).mean()
    assert mean(each, Classes(4), LOGITS, TARGETS) == pytest.approx(float(expected), abs=1e-6)
    if not smoothing:
        assert mean(each, Classes(4), LOGITS, TARGETS) == pytest.approx(
            float(Classes(4).loss(LOGITS, TARGETS)), abs=1e-6
        )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_that_of_the_paper(gamma: float) -> None:
    each = losses.focal(options.FocalOptions(gamma=gamma), output=Classes(4))
    right = LOGITS.softmax(-1)[torch.arange(6), TARGETS]
    expected = (-((1 - right) ** gamma) * right.log()).mean()
    assert mean(each, Classes(4), LOGITS, TARGETS) == pytest.approx(float(expected), abs=1e-6)
    certain = (functional.one_hot(TARGETS, 4) * 200.0).requires_grad_()
    each(certain, TARGETS).mean().backward()
    assert bool(torch.isfinite(certain.grad).all())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (losses.mse(Options(), output=Values(2)), functional.mse_loss),
        (losses.mae(Options(), output=Values(2)), functional.l1_loss),
        (
            losses.huber(options.HuberOptions(delta=0.3), output=Values(2)),
            lambda p, y: functional.huber_loss(p, y, delta=0.3),
        ),
        (
            losses.smooth_l1(options.SmoothL1Options(beta=0.3), output=Values(2)),
            lambda p, y: functional.smooth_l1_loss(p, y, beta=0.3),
        ),
        (
            losses.quantile(options.QuantileOptions(quantile=0.9), output=Values(2)),
            lambda p, y: torch.where(y > p, 0.9 * (y - p), 0.1 * (p - y)).mean(),
        ),
    ],
)
def test_losses_of_values(each: Any, expected: Any) -> None:
    predictions, targets = LOGITS[:, :2], LOGITS[:, 2:]
    assert mean(each, Values(2), predictions, targets) == pytest.approx(float(expected(predictions, targets)), abs=1e-6)


def test_each_example_counts_the_same_whatever_its_labelled_tokens() -> None:
    output, logits = TokenClasses(3), torch.randn((3, 5, 3), generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[0, 1, 2, 0, 1], [2, IGNORED, IGNORED, 1, IGNORED], [IGNORED] * 5])
    each = losses.cross_entropy(options.CrossEntropyOptions(), output=output)
    assert mean(each, output, logits, targets) == pytest.approx(float(output.loss(logits, targets)), abs=1e-6)
    seen: list[int] = []
    mean(lambda rows, wanted: (seen.extend(wanted.tolist()), rows.sum(-1))[1], output, logits, targets)
    assert seen == [0, 1, 2, 0, 1, 2, 1]


@pytest.mark.parametrize(
    "each", [lambda p, y: p.mean(), lambda p, y: 1.0, lambda p, y: p, lambda p, y: functional.cross_entropy(p, y)]
)
def test_a_loss_that_is_not_one_for_each_answer_is_refused(each: Any) -> None:
    with pytest.raises(PluginError, match=r"loss 'mine': it gave .*; give the loss of each answer"):
        mean(each, Classes(4), LOGITS, TARGETS)
    with pytest.raises(PluginError, match="expected a function of predictions and targets"):
        ChosenLoss(SPEC, math.pi, Classes(4))
