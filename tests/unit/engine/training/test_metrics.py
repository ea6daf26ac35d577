"""Metrics against definitions written out in NumPy, over whole splits, and where they are not defined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from fptkit.engine.training import metrics, options
from fptkit.errors import UsageError
from fptkit.interfaces import Classes, Metrics, Task, Values, Vectors
from fptkit.options import Options

GENERATOR = torch.Generator().manual_seed(0)
TARGETS = torch.randint(0, 4, (60,), generator=GENERATOR)
LOGITS = torch.randn((60, 4), generator=GENERATOR) + torch.nn.functional.one_hot(TARGETS, 4)
NUMBERS = torch.randn((40, 2), generator=GENERATOR)
GUESSES = NUMBERS + torch.randn((40, 2), generator=GENERATOR)


def value(name: str, given: Any = None, *, logits: torch.Tensor = LOGITS, targets: torch.Tensor = TARGETS) -> float:
    output = Values(2) if targets.is_floating_point() else Classes(logits.shape[-1])
    metric = getattr(metrics, name)(given or Options(), output=output)
    for part in range(0, len(targets), 7):  # batches of 7: the last one is smaller
        metric.update(logits[part : part + 7], targets[part : part + 7])
    return float(metric.compute())


def counts() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Right answers, predictions and targets of each class."""
    said, right = LOGITS.argmax(-1).numpy(), TARGETS.numpy()
    each = [(((said == k) & (right == k)).sum(), (said == k).sum(), (right == k).sum()) for k in range(4)]
    return tuple(np.array(column, float) for column in zip(*each, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_f1_precision_and_recall(average: Any) -> None:
    right, said, there = counts()
    if average == "micro":
        right, said, there = (np.array([column.sum()]) for column in (right, said, there))
    weights = there if average == "weighted" else np.ones_like(there)
    given = options.AverageOptions(average=average)
    expected = {"f1": 2 * right / (said + there), "precision": right / said, "recall": right / there}
    for name, each in expected.items():
        assert value(name, given) == pytest.approx(np.average(each, weights=weights))


def test_balanced_accuracy_correlation_and_agreement() -> None:
    right, said, there = counts()
    total = there.sum()
    assert value("balanced_accuracy") == pytest.approx((right / there).mean())
    by_chance = (said * there).sum() / total**2
    assert value("kappa") == pytest.approx((right.sum() / total - by_chance) / (1 - by_chance))
    covariance = right.sum() * total - (said * there).sum()
    spread = (total**2 - (said**2).sum()) * (total**2 - (there**2).sum())
    assert value("mcc") == pytest.approx(covariance / spread**0.5)


def pairs_in_order(scores: np.ndarray[Any, Any], positive: np.ndarray[Any, Any]) -> float:
    """The share of pairs of a positive and a negative in which the positive has the higher score."""
    ahead = scores[positive][:, None] - scores[~positive][None]
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_area_under_the_curve(average: Any) -> None:
    chances, right = LOGITS.double().softmax(-1).numpy(), TARGETS.numpy()
    each = [pairs_in_order(chances[:, k], right == k) for k in range(4)]
    weights = np.bincount(right) if average == "weighted" else None
    assert value("auroc", options.AurocOptions(average=average)) == pytest.approx(np.average(each, weights=weights))
    two = TARGETS.clamp(max=1)
    expected = pairs_in_order((LOGITS[:, 1] - LOGITS[:, 0]).numpy(), two.numpy() == 1)
    assert value("auroc", options.AurocOptions(), logits=LOGITS[:, :2], targets=two) == pytest.approx(expected)
    assert math.isnan(value("auroc", options.AurocOptions(), targets=torch.zeros_like(TARGETS)))


def test_top_k() -> None:
    ranks = (LOGITS.argsort(-1, descending=True) == TARGETS[:, None]).float().argmax(-1)
    assert value("top_k_accuracy", options.TopKOptions(k=2)) == pytest.approx(float((ranks < 2).double().mean()))
    with pytest.raises(UsageError, match="k is 5, but there are 4 classes"):
        metrics.top_k_accuracy(options.TopKOptions(), output=Classes(4))


def test_metrics_of_numbers() -> None:
    error, given = (GUESSES - NUMBERS).double().numpy(), {"logits": GUESSES, "targets": NUMBERS}
    true, said = NUMBERS.double().numpy(), GUESSES.double().numpy()
    assert value("mae", **given) == pytest.approx(np.abs(error).mean())
    assert value("rmse", **given) == pytest.approx((error**2).mean() ** 0.5)
    assert value("r2", **given) == pytest.approx((1 - (error**2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)).mean())
    linear = [np.corrcoef(said[:, k], true[:, k])[0, 1] for k in range(2)]
    ranks = [np.corrcoef(said[:, k].argsort().argsort(), true[:, k].argsort().argsort())[0, 1] for k in range(2)]
    assert value("pearson", **given) == pytest.approx(np.mean(linear))
    assert value("spearman", **given) == pytest.approx(np.mean(ranks))
    assert math.isnan(value("pearson", logits=torch.zeros_like(NUMBERS), targets=NUMBERS))


def test_a_metric_without_batches_is_not_a_number() -> None:
    assert math.isnan(metrics.mcc(Options(), output=Classes(3)).compute())


class Own(Task):
    input, output, max_tokens = Vectors(1), Classes(4), 3


def test_added_metrics_stand_beside_those_of_the_task() -> None:
    task = Own()
    task.added_metrics = {
        "mcc": lambda: metrics.mcc(Options(), output=task.output),
        "accuracy": lambda: pytest.fail("the task has its own"),
    }
    task.best_metric = "mcc"
    found = Metrics.of(task).fresh(torch.device("cpu"))
    assert found.names == ("accuracy", "mcc")
    assert task.selection() == ("mcc", True)
    found.update(LOGITS, TARGETS)
    assert found.compute()["mcc"] == pytest.approx(value("mcc"))
