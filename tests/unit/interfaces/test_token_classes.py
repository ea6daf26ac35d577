"""A class at every token: loss, metrics, checks, read-out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.errors import PluginError, ShapeError
from fptkit.interfaces import (
    IGNORED,
    Batch,
    Classes,
    Grid,
    Metrics,
    Symbols,
    Task,
    TokenClasses,
    Vectors,
    check_batch,
    check_task_declarations,
)
from fptkit.interfaces.descriptions import describe, described_output
from fptkit.model import CrossModalModel, Head, default_readout


class Tagged(Task):
    def __init__(self) -> None:
        self.input, self.output, self.max_tokens = Symbols(9), TokenClasses(3, ("a", "b", "c")), 5


def batch(targets: list[list[int]], lengths: list[int] | None) -> Batch:
    tokens = torch.ones(len(targets), len(targets[0]), dtype=torch.int64)
    return Batch(tokens, torch.tensor(targets), None if lengths is None else torch.tensor(lengths))


TARGETS = torch.tensor([[0, 2, IGNORED, 1], [1, IGNORED, IGNORED, IGNORED], [IGNORED] * 4])


def test_loss_is_the_mean_over_examples_of_their_labelled_tokens() -> None:
    logits = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
    chances = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(-1, keepdims=True)
    first = -np.mean([np.log(chances[0, place, label]) for place, label in ((0, 0), (1, 2), (3, 1))])
    second = -np.log(chances[1, 0, 1])
    assert TokenClasses(3).loss(logits, TARGETS).item() == pytest.approx((first + second + 0) / 3, rel=1e-5)


def test_gradients_of_micro_batches_add_up_to_that_of_the_batch() -> None:
    kind = TokenClasses(3)
    whole = torch.randn(2, 4, 3, requires_grad=True)
    kind.loss(whole, TARGETS[:2]).backward()
    parts = whole.detach().clone().requires_grad_()
    for row in range(2):
        (kind.loss(parts[row : row + 1], TARGETS[row : row + 1]) / 2).backward()
    assert whole.grad is not None
    assert parts.grad is not None
    torch.testing.assert_close(whole.grad, parts.grad)
    assert not whole.grad[0, 2].any()
    assert not whole.grad[1, 1:].any()


def test_metrics_count_labelled_tokens_only() -> None:
    metrics = Metrics.of(Tagged())
    logits = nn.functional.one_hot(torch.tensor([[0, 2, 2, 0], [1, 0, 0, 0], [0, 0, 0, 0]]), 3).float()
    metrics.update(*Tagged().output.for_metrics(logits, TARGETS))
    assert metrics.compute() == {"accuracy": 0.75}
    assert Tagged().selection() == ("accuracy", True)


@pytest.mark.parametrize(
    ("targets", "lengths", "fault"),
    [
        ([[0, 1, 2], [0, 1, IGNORED]], [3, 2], None),
        ([[0, 1, 2], [IGNORED, IGNORED, IGNORED]], None, None),
        ([[0, 1, 2], [0, 1, 0]], [3, 2], "padding has a target; set it to fptkit.IGNORED"),
        ([[0, 1, 3], [0, 1, 0]], None, "a target is not below 3"),
        ([[0, 1, -1], [0, 1, 0]], None, "a target is negative and not fptkit.IGNORED"),
    ],
)
def test_batch_checks(targets: list[list[int]], lengths: list[int] | None, fault: str | None) -> None:
    if fault is None:
        check_batch(Tagged(), batch(targets, lengths), 2, where="x")
        return
    with pytest.raises(ShapeError, match=fault):
        check_batch(Tagged(), batch(targets, lengths), 2, where="x")


def test_targets_of_another_shape_are_refused() -> None:
    wrong = Batch(torch.ones(2, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"targets are \(2,\), expected \(2, 3\)"):
        check_batch(Tagged(), wrong, 2, where="x")


def test_a_grid_has_no_class_at_every_token() -> None:
    task = Tagged()
    task.input, task.max_tokens = Grid((2, 2)), 4  # type: ignore[assignment]
    with pytest.raises(PluginError, match="use Vectors or Symbols"):
        check_task_declarations(task)


def test_too_few_classes_and_names() -> None:
    with pytest.raises(ShapeError, match="at least 2"):
        TokenClasses(1)
    with pytest.raises(ShapeError, match="2 names for 3"):
        TokenClasses(3, ("a", "b"))


def test_description_and_back() -> None:
    kind = TokenClasses(2, ("H", "C"))
    assert described_output(describe(kind), "x") == kind
    assert described_output(describe(Classes(2)), "x") == Classes(2)


def test_the_head_reads_every_token_and_padding_changes_nothing() -> None:
    kind = TokenClasses(3)
    assert default_readout(kind, causal=True) == default_readout(kind, causal=False) == "all"
    with pytest.raises(ShapeError, match="does not read every token"):
        Head(kind, 8, readout="mean")
    from fptkit.backbones.options import Gpt2Sizes

    backbone = random_gpt2(Gpt2Sizes(2, 8, 2), positions=6, seed=0)
    encoder = LinearEncoder(LinearOptions(), input=Vectors(4), width=8)
    model = CrossModalModel(encoder, backbone, Head(kind, 8, readout="all")).eval()
    inputs = torch.randn(2, 6, 4)
    logits = model(inputs, torch.tensor([6, 4]))
    assert logits.shape == (2, 6, 3)
    inputs[1, 4:] = 99
    torch.testing.assert_close(model(inputs, torch.tensor([6, 4]))[1, :4], logits[1, :4])
    torch.testing.assert_close(model(inputs[1:, :4])[0], logits[1, :4])
