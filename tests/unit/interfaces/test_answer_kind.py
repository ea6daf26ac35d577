"""Kinds of answers: losses, metrics and checks against naive references; what follows from a kind of a plugin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, nn

from fptkit.engine.assessment.accumulate import assess, seen_kind
from fptkit.engine.assessment.records import ClassesAssessed, NumbersAssessed, OtherAssessed
from fptkit.errors import DataError, PluginError, ShapeError
from fptkit.interfaces import (
    IGNORED,
    AnswerKind,
    Batch,
    Classes,
    Grid,
    Labels,
    Mixed,
    NextSymbol,
    Ranking,
    Symbols,
    Task,
    TokenClasses,
    TokenValues,
    Values,
    Vectors,
    check_batch,
    check_mean_of_examples,
    check_task_declarations,
)
from fptkit.interfaces.answer_metrics import BitsPerSymbol, LabelsF1, PairAccuracy
from fptkit.interfaces.descriptions import describe, described_output

NAN = float("nan")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Counts(AnswerKind):
    """A kind of a plugin that says no more than it must."""

    name = "unit_test_counts"
    rate: float = 1.0

    def head_width(self) -> int:
        return 1

    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        return (size, 1)

    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        return (size, 1)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.poisson_nll_loss(predictions, targets)


def targets_of(kind: AnswerKind, size: int = 6, tokens: int = 4) -> Tensor:
    """Some targets, of which some are not known where a kind allows that."""
    generator = torch.Generator().manual_seed(1)
    shape = kind.target_shape(size, tokens)
    if isinstance(kind, (Classes, TokenClasses)):
        targets = torch.randint(kind.count, shape, generator=generator)
    elif isinstance(kind, Labels):
        targets = torch.randint(2, shape, generator=generator)
    else:
        targets = torch.randn(shape, generator=generator)
    if isinstance(kind, (Labels, TokenClasses)):
        targets[0, 0] = targets[1, 1:] = IGNORED
    elif isinstance(kind, (TokenValues, Ranking)):
        targets[0, 0] = targets[1, 1:] = NAN
    return targets


KINDS = [
    Classes(3), Classes(2, tokens=2, per_token=2), Values(2), TokenClasses(3), NextSymbol(3), Labels(3), Labels(1),
    TokenValues(2), Ranking(2), Ranking(4), Counts(),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_kind_keeps_its_promises(kind: AnswerKind) -> None:
    targets, tokens = targets_of(kind), 4 if kind.each_token else max(1, kind.tokens)
    raw = normal(6, tokens, kind.head_width())
    predictions = kind.arrange(raw).requires_grad_()
    assert tuple(predictions.shape) == tuple(kind.prediction_shape(6, 4))
    assert targets.dtype == kind.dtype
    assert not [message for wrong, message in kind.target_faults(targets) if wrong]
    assert torch.equal(kind.collate(list(targets)).nan_to_num(), targets.nan_to_num())
    assert kind.unknown_targets(6, 4).shape == targets.shape
    loss = kind.loss(predictions, targets)
    loss.backward()
    assert predictions.grad is not None
    assert predictions.grad.isfinite().all()
    assert predictions.grad.any()
    each = kind.example_losses(predictions, targets)
    if not isinstance(kind, Labels) or kind.count > 1:  # of one label, the first examples have none
        torch.testing.assert_close(each.nan_to_num().mean(), loss)
    described = described_output(describe(kind), "x.json")
    assert described == kind
    assert len(kind.in_words(predictions.detach())) == 6
    for metric in kind.metrics().values():
        metric.update(*kind.for_metrics(predictions.detach(), targets))
        assert np.isfinite(float(metric.compute()))
        assert metric.higher_is_better is not None
    assert kind.best_metric in {"loss", *kind.metrics()}


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_gradients_of_micro_batches_add_up(kind: AnswerKind) -> None:
    targets = targets_of(kind)
    whole = normal(*kind.prediction_shape(6, 4)).requires_grad_()
    parts = whole.detach().clone().requires_grad_()
    kind.loss(whole, targets).backward()
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        (kind.loss(parts[rows], targets[rows]) * (rows.stop - rows.start) / 6).backward()
    torch.testing.assert_close(whole.grad, parts.grad)


def test_labels_by_hand() -> None:
    kind, logits = Labels(3), normal(4, 3)
    targets = torch.tensor([[0, 1, 1], [1, IGNORED, 0], [IGNORED] * 3, [0, 0, 1]])
    z, y = logits.double().numpy(), targets.numpy()
    p = 1 / (1 + np.exp(-z))
    losses = [
        -np.mean([np.log(p[i, j]) if y[i, j] else np.log(1 - p[i, j]) for j in range(3) if y[i, j] != IGNORED] or [0.0])
        for i in range(4)
    ]
    assert kind.loss(logits, targets).item() == pytest.approx(np.mean(losses), rel=1e-5)
    known = y != IGNORED
    f1 = LabelsF1()
    f1.update(*kind.for_metrics(logits, targets))
    assert f1.compute() == pytest.approx(f1_score(y[known], (z > 0)[known]))
    assert kind.chance() == 0.5
    found = assess(kind, logits, targets)
    assert isinstance(found, ClassesAssessed)
    assert (found.answers, [place.name for place in found.places]) == (8, ["label_0", "label_1", "label_2"])


def test_numbers_at_every_token_by_hand() -> None:
    kind = TokenValues(2, names=("a", "b"))
    predictions = normal(3, 4, 2)
    targets = normal(3, 4, 2, seed=2)
    targets[0, 2:] = targets[1, 0] = targets[2] = NAN
    errors = (predictions - targets).double().numpy()
    losses = [np.mean(errors[0, :2] ** 2), np.mean(errors[1, 1:] ** 2), 0.0]
    assert kind.loss(predictions, targets).item() == pytest.approx(np.mean(losses), rel=1e-5)
    rows = np.concatenate([errors[0, :2], errors[1, 1:]])
    metric = kind.metrics()["mean_squared_error"]
    metric.update(*kind.for_metrics(predictions, targets))
    assert metric.compute() == pytest.approx(np.mean(rows**2), rel=1e-6)
    found = assess(kind, predictions, targets)
    assert isinstance(found, NumbersAssessed)
    assert (found.examples, found.left_out) == (2, 0), "one without any known token does not count"
    assert [one.absolute for one in found.outputs] == pytest.approx(np.abs(rows).mean(0).tolist(), rel=1e-6)
    assert found.squared == pytest.approx(np.mean(losses[:2]), rel=1e-6), "examples are independent, tokens are not"


def test_an_order_by_hand() -> None:
    kind, scores = Ranking(4), normal(20, 4)
    relevance = torch.randint(2, (20, 4), generator=torch.Generator().manual_seed(3)).float()
    relevance[0, 1] = NAN
    losses = []
    for s, r in zip(scores.double().numpy(), relevance.numpy(), strict=True):
        pairs = [(i, j) for i in range(4) for j in range(4) if r[i] > r[j]]
        losses.append(np.mean([np.log1p(np.exp(s[j] - s[i])) for i, j in pairs]) if pairs else 0.0)
    assert kind.loss(scores, relevance).item() == pytest.approx(np.mean(losses), rel=1e-5)
    metric = PairAccuracy()
    metric.update(scores[5:6], relevance[5:6])
    assert metric.compute() == pytest.approx(roc_auc_score(relevance[5].numpy(), scores[5].numpy()))
    metric.reset()
    metric.update(torch.zeros(3, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    assert metric.compute() == 0.5, "equal scores count half, equal items not at all"
    assert np.isnan(PairAccuracy().compute())


def test_a_pair_is_a_choice_between_two() -> None:
    """The loss of two items is the cross-entropy of the preferred one (Bradley and Terry 1952)."""
    kind, scores = Ranking(2), normal(8, 2)
    first = torch.randint(2, (8,), generator=torch.Generator().manual_seed(0))
    relevance = nn.functional.one_hot(first, 2).float()
    torch.testing.assert_close(kind.loss(scores, relevance), nn.functional.cross_entropy(scores, first))
    seen = kind.seen(scores, relevance)
    assert torch.equal(seen.targets, first)  # type: ignore[arg-type]
    tied = kind.seen(scores[:1], torch.ones(1, 2)).targets
    assert tied is not None
    assert tied.tolist() == [IGNORED]


def test_the_next_symbol() -> None:
    kind = NextSymbol(5)
    inputs, lengths = torch.tensor([[1, 2, 3, 4], [4, 3, 0, 0], [2, 0, 0, 0]]), torch.tensor([4, 2, 1])
    targets = kind.targets_of(inputs, lengths)
    assert targets.tolist() == [[2, 3, 4, IGNORED], [3, IGNORED, IGNORED, IGNORED], [IGNORED] * 4]
    logits = normal(3, 4, 5)
    metric = BitsPerSymbol()
    metric.update(*kind.for_metrics(logits, targets))
    chances = logits.double().softmax(-1).numpy()
    bits = [-np.log2(chances[0, t, s]) for t, s in enumerate((2, 3, 4))] + [-np.log2(chances[1, 0, 3])]
    assert metric.compute() == pytest.approx(np.mean(bits), rel=1e-6)
    shifted = inputs.masked_fill(torch.arange(4) >= lengths[:, None] - 1, IGNORED)
    faults = [message for wrong, message in kind.input_faults(inputs, shifted) if wrong]
    assert faults == ["a target is not the symbol of the token after it; make targets by output.targets_of(inputs)"], (
        "the target of a token is not its own symbol"
    )
    assert not [message for wrong, message in kind.input_faults(inputs, targets) if wrong]
    last = targets.clone()
    last[0, 3] = 1
    assert [m for wrong, m in kind.input_faults(inputs, last) if wrong] == [
        "the last token has a target, but no token comes after it"
    ]


# Mistakes


def task_of(output: Any, input: Any = None) -> Task:
    task = Task()
    task.input, task.output, task.max_tokens = input or Vectors(2), output, 4
    return task


@pytest.mark.parametrize(
    ("kind", "targets", "fault"),
    [
        (Labels(2), torch.tensor([[0, 2], [0, 1]]), "a target is 2, expected 0, 1 or fptkit.IGNORED"),
        (Labels(2), torch.zeros(2, 2), "targets are torch.float32, expected torch.int64"),
        (Labels(2), torch.zeros(2, dtype=torch.int64), r"targets are \(2,\), expected \(2, 2\)"),
        (TokenValues(2), torch.zeros(2, 4, 1), r"targets are \(2, 4, 1\), expected \(2, 4, 2\)"),
        (TokenValues(2), torch.tensor([[[NAN, 1.0]] * 4] * 2), "some numbers of a token are NaN, others are not"),
        (TokenValues(1), torch.full((2, 4, 1), float("inf")), "targets have infinity"),
        (TokenValues(1), torch.zeros(2, 4, 1), "padding has a target; set it to NaN"),
        (Ranking(2), torch.zeros(2, 2, dtype=torch.int64), "targets are torch.int64, expected torch.float32"),
        (Ranking(3), torch.zeros(2, 2), r"targets are \(2, 2\), expected \(2, 3\)"),
    ],
)
def test_wrong_targets(kind: AnswerKind, targets: Tensor, fault: str) -> None:
    batch = Batch(torch.zeros(2, 4, 2), targets, torch.tensor([4, 2]))
    with pytest.raises(ShapeError, match=f"^here: {fault}"):
        check_batch(task_of(kind), batch, 2, where="here")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Labels(0), "count must be at least 1"),
        (lambda: Labels(2, names=("a",)), "1 names for 2"),
        (lambda: TokenValues(0), "width must be at least 1"),
        (lambda: Ranking(1), "items must be at least 2"),
        (lambda: NextSymbol(1), "count must be at least 2"),
    ],
)
def test_kinds_that_cannot_be(make: Callable[[], AnswerKind], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make()


class Bare(Counts):
    name = ""


class Headless(Counts):
    name = "unit_test_headless"

    def head_width(self) -> int:
        return 0


class Plain(AnswerKind):
    name = "unit_test_plain"
    head_width, target_shape, prediction_shape, loss = (
        Counts.head_width, Counts.target_shape, Counts.prediction_shape, Counts.loss
    )  # fmt: skip


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (3, "'output' is 3, expected a kind of answer, such as fptkit.Classes"),
        (Counts, "expected a kind of answer, such as fptkit.Classes"),
        (Bare(), "Bare, has no name; set name, for example to 'bare'"),
        (Headless(), "Headless, has head_width() 0; return an integer of at least 1"),
        (Plain(), "Plain, is not a dataclass; put @dataclass(frozen=True) above the class"),
    ],
)
def test_kinds_of_plugins_that_lack_something(output: Any, message: str) -> None:
    with pytest.raises(PluginError, match=r"^task Task: ") as caught:
        check_task_declarations(task_of(output))
    assert message in str(caught.value)


@pytest.mark.parametrize("input", [Grid((2, 2)), Mixed({"a": Symbols(2)}, {"a": 4})])
def test_an_answer_at_every_token_needs_tokens_in_a_row(input: Any) -> None:
    with pytest.raises(PluginError, match="its output is TokenValues, an answer for every token, but its input is"):
        check_task_declarations(task_of(TokenValues(1), input))


def test_a_kind_that_reports_do_not_know() -> None:
    assert seen_kind(Counts()) is None
    found = assess(Counts(), torch.zeros(3, 1), torch.ones(3, 1))
    assert found == OtherAssessed(name="unit_test_counts", examples=3)
    assert Counts().in_words(torch.tensor([[2.0]])) == [{"value": [2.0]}]


def test_a_kind_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"x\.json: .* is not a kind of"):
        described_output({"kind": "unit_test_gone"}, "x.json")


# The page

PAGE = (Path(__file__).parents[3] / "docs" / "plugins" / "answers.md").read_text(encoding="utf-8")
BUILT_IN = (Classes(4), Values(2), Labels(4), TokenClasses(4), TokenValues(2), NextSymbol(4), Ranking(2))


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.name)
def test_the_page_says_what_is_true(kind: AnswerKind) -> None:
    own = [line for line in PAGE.splitlines() if line.startswith(f"| `{type(kind).__name__}")]
    ((_, _, targets, _, best, chance),) = ([cell.strip() for cell in line.split("|")[1:-1]] for line in own)
    assert best == f"`{kind.best_metric}`"
    assert chance == {0.25: "1 / K", 0.5: "1 / 2", None: "none"}[kind.chance()]
    assert ("float32" in targets) == kind.dtype.is_floating_point


def test_a_loss_that_is_no_mean_over_examples() -> None:
    @dataclass(frozen=True)
    class OverTokens(TokenClasses):
        def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    batch = Batch(torch.zeros(2, 4, 2), torch.tensor([[0, 1, 2, 0], [1, *[IGNORED] * 3]]))
    check_mean_of_examples(task_of(TokenClasses(3)), batch, normal(2, 4, 3))
    with pytest.raises(PluginError, match=r"OverTokens, is .* as the mean over its examples; train.accumulate would"):
        check_mean_of_examples(task_of(OverTokens(3)), batch, normal(2, 4, 3))
