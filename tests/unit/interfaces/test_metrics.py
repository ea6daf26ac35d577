"""Metrics know their direction, and are those of torchmetrics to rounding."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fptkit import Accuracy, MeanSquaredError, SampledEvaluation
from fptkit.engine.evaluate import evaluate
from fptkit.errors import DivergedError, PluginError, ShapeError
from fptkit.interfaces import Batch, Classes, Metrics, Task, Values, check_best_metric, check_selected

torchmetrics = pytest.importorskip("torchmetrics")

CPU = torch.device("cpu")


class Fixed:
    """A metric with a value of its own."""

    def __init__(self, value: Any, **attributes: Any) -> None:
        self.value = value
        for name, attribute in attributes.items():
            setattr(self, name, attribute)

    def update(self, predictions: Any, targets: Any) -> None: ...

    def reset(self) -> None: ...

    def compute(self) -> Any:
        return self.value

    def to(self, device: torch.device) -> Fixed:
        return self


class Question(Task):
    """A task that only has metrics."""

    def __init__(self, output: Classes | Values, given: Any = None, **attributes: Any) -> None:
        self.output, self.given = output, given
        for name, attribute in attributes.items():
            setattr(self, name, attribute)

    def metrics(self) -> Any:
        return self.output.metrics() if self.given is None else self.given


# Values


@pytest.mark.parametrize("sizes", [(1,), (5, 1, 7), (640,) * 3])
def test_accuracy_is_that_of_torchmetrics(sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(len(sizes))
    mine, theirs = Accuracy(), torchmetrics.classification.MulticlassAccuracy(4, average="micro")
    right = total = 0
    for size in sizes:
        logits = torch.randn((size, 4), generator=generator).round()  # ties: the first of the largest
        targets = torch.randint(0, 4, (size,), generator=generator)
        mine.update(logits, targets)
        theirs.update(logits, targets)
        right += int((np.argmax(logits.numpy(), axis=-1) == targets.numpy()).sum())
        total += size
    assert mine.compute() == float(theirs.compute()) == float(np.float32(right) / np.float32(total))


def test_every_accuracy_that_older_runs_wrote_is_the_same_number() -> None:
    for total in (1, 3, 7, 160, 999):
        for right in range(0, total + 1, max(total // 50, 1)):
            metric = Accuracy()
            metric.update(torch.eye(2)[[0] * right + [1] * (total - right)], torch.zeros(total, dtype=torch.int64))
            assert metric.compute() == float(torch.tensor(right).float() / torch.tensor(total).float())


def test_squared_error_is_that_of_torchmetrics_and_of_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    mine, theirs, squares = MeanSquaredError(), torchmetrics.MeanSquaredError(), []
    for size in (4, 1, 6):
        predictions, targets = torch.randn((2, size, 2, 3), generator=generator)
        mine.update(predictions, targets)
        theirs.update(predictions, targets)
        squares.append(np.square(predictions.numpy().astype(np.float64) - targets.numpy()).ravel())
    assert mine.compute() == pytest.approx(float(theirs.compute()), rel=1e-6)
    assert mine.compute() == pytest.approx(float(np.concatenate(squares).mean()), rel=1e-14)


def test_squared_errors_do_not_wear_out_in_long_splits() -> None:
    metric = MeanSquaredError()
    metric.update(torch.full((1, 1), 1e4), torch.zeros(1, 1))
    for _ in range(100):
        metric.update(torch.full((1, 1), 1e-2), torch.zeros(1, 1))
    assert metric.compute() == pytest.approx((1e8 + 100 * 1e-4) / 101, rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "batch"),
    [
        (Accuracy(), (torch.eye(3), torch.tensor([0, 0, 2]))),
        (MeanSquaredError(), (torch.ones(2, 1), torch.zeros(2, 1))),
    ],
)
def test_a_metric_before_any_batch_and_after_reset(metric: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert math.isnan(metric.compute())
    metric.update(*batch)
    once = metric.compute()
    metric.reset()
    assert math.isnan(metric.compute())
    assert metric.to(CPU) is metric
    metric.update(*batch)
    assert metric.compute() == once


@pytest.mark.parametrize(
    ("metric", "predictions", "targets"),
    [(Accuracy(), (3, 4), (3, 1)), (Accuracy(), (3, 4), (2,)), (MeanSquaredError(), (3, 1), (3,))],
)
def test_shapes_that_would_be_broadcast_are_refused(metric: Any, predictions: Any, targets: Any) -> None:
    with pytest.raises(ShapeError, match=str(predictions)[1:4]):
        metric.update(torch.zeros(predictions), torch.zeros(targets))


def test_an_accuracy_with_another_rule() -> None:
    class TopTwo(Accuracy):
        def right(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return (predictions.topk(2).indices == targets[:, None]).any(-1)

    metrics = Metrics({"top_2": TopTwo()}, "Question").fresh(CPU)
    metrics.update(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([1, 2]))
    assert metrics.compute() == {"top_2": 0.5}
    assert metrics.is_fraction("top_2")
    assert metrics.is_accuracy("top_2")


# Direction

COSINE = {"cosine_similarity": torchmetrics.CosineSimilarity()}
OWN = {"score": Fixed(0.5)}


@pytest.mark.parametrize(
    ("task", "found"),
    [
        (Question(Classes(3)), ("accuracy", True)),
        (Question(Values(1)), ("mean_squared_error", False)),
        (Question(Classes(3), best_metric="loss"), ("loss", False)),
        (Question(Values(1), best_metric="loss"), ("loss", False)),
        (Question(Values(1), COSINE, best_metric="cosine_similarity"), ("cosine_similarity", True)),
        (Question(Values(1), torchmetrics.MetricCollection(COSINE), best_metric="cosine_similarity"), COSINE),
        (Question(Classes(3), {"error": torchmetrics.MeanAbsoluteError()}, best_metric="error"), ("error", False)),
        (Question(Classes(3), OWN, best_metric="score", higher_is_better=True), ("score", True)),
        (Question(Classes(3), OWN, best_metric="score", higher_is_better=False), ("score", False)),
        (Question(Values(1), COSINE, best_metric="cosine_similarity", higher_is_better=True), COSINE),
    ],
)
def test_the_direction_is_the_metrics(task: Task, found: Any) -> None:
    expected = ("cosine_similarity", True) if found is COSINE else found
    assert task.selection() == expected
    check_best_metric(task)


MEAN = {"mean": torchmetrics.MeanMetric()}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            Question(Classes(3), OWN, best_metric="score"),
            "task Question: best_metric 'score' does not declare its direction; set higher_is_better of the "
            "task to True or False",
        ),
        (Question(Values(1), MEAN, best_metric="mean"), "'mean' does not declare its direction"),
        (
            Question(Values(1), COSINE, best_metric="cosine_similarity", higher_is_better=False),
            "higher_is_better is False, but for its best_metric 'cosine_similarity' higher is better; remove",
        ),
        (Question(Classes(3), best_metric="loss", higher_is_better=True), "for its best_metric 'loss' lower is better"),
        (Question(Classes(3), best_metric="f1"), "unknown best_metric 'f1'; set one of accuracy, loss"),
        (Question(Classes(3), OWN), "unknown best_metric 'accuracy'; set one of loss, score"),
        (Question(Classes(3), [Accuracy()]), r"metrics\(\) returns a list; return a mapping"),
        (Question(Classes(3), Accuracy()), r"metrics\(\) returns a Accuracy; return a mapping"),
        (Question(Classes(3), {"accuracy": Accuracy}), "metric 'accuracy' is the class Accuracy; use an object with"),
        (Question(Classes(3), {"accuracy": max}), "metric 'accuracy' is a builtin_function_or_method; use an object"),
        (Question(Classes(3), {1: Accuracy()}), "metric 1 is a Accuracy"),
        (
            Question(Classes(3), OWN, best_metric="loss", sampled_evaluation=SampledEvaluation(accuracy_factor=0.9)),
            r"accuracy_factor is 0.9, but none of its metrics \(score\) is an accuracy",
        ),
    ],
)
def test_what_cannot_be_chosen_by_is_an_error_that_says_what_to_do(task: Task, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        check_best_metric(task)


@pytest.mark.parametrize("output", [Classes(3), Values(2)])
def test_a_task_that_extends_the_metrics_by_those_of_torchmetrics_may_collect_them(output: Classes | Values) -> None:
    class Plain(Task):
        pass

    class Extended(Plain):
        def metrics(self) -> Any:
            metrics: Any = super().metrics()
            metrics.add_metrics({"more": torchmetrics.MeanMetric()})
            return torchmetrics.MetricCollection({**metrics, "most": torchmetrics.MaxMetric()})

    plain, extended = Plain(), Extended()
    plain.output = extended.output = output
    assert isinstance(plain.metrics(), dict)
    assert set(extended.metrics()) == {output.best_metric, "more", "most"}
    assert extended.selection() == plain.selection()


def test_our_metrics_in_a_collection_of_torchmetrics_are_an_error_that_says_what_to_do() -> None:
    class Collected(Question):
        def metrics(self) -> Any:
            return torchmetrics.MetricCollection({"accuracy": Accuracy()})

    with pytest.raises(PluginError, match=r"task Collected: metrics\(\) failed: .* return a plain mapping"):
        check_best_metric(Collected(Classes(3)))


def test_a_library_that_is_not_there_is_named() -> None:
    class Missing(Question):
        def metrics(self) -> Any:
            import no_such_library

            return no_such_library.metrics()

    with pytest.raises(PluginError, match=r"no_such_library.*pip install 'fptkit\[metrics\]'"):
        check_best_metric(Missing(Classes(3)))


# What is computed


def computed(given: Any) -> dict[str, float]:
    metrics = Metrics(given, "Question").fresh(CPU)
    metrics.update(*Classes(3).for_metrics(torch.eye(3), torch.tensor([0, 1, 1])))
    return metrics.compute()


def test_metrics_of_both_kinds_go_into_one_mapping() -> None:
    f1 = torchmetrics.classification.MulticlassF1Score(3, average="micro")
    found = computed({"accuracy": Accuracy(), "f1": f1, "fixed": Fixed(torch.tensor([4.0]))})
    assert found == pytest.approx({"accuracy": 2 / 3, "f1": 2 / 3, "fixed": 4.0})


def test_a_collection_takes_results_apart_itself() -> None:
    per_class = torchmetrics.ClasswiseWrapper(
        torchmetrics.classification.MulticlassRecall(3, average=None), labels=["a", "b", "c"], prefix="recall_"
    )
    found = computed(torchmetrics.MetricCollection({"recall": per_class}))
    assert found == {"recall_a": 1.0, "recall_b": 0.5, "recall_c": 0.0}


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"a": 1.0, "b": 2.0}, "a mapping with a, b"),
        (torch.zeros(3), r"a tensor of shape \(3,\)"),
        ((1.0, 2.0), "a tuple"),
        ("0.5", "a str"),
        (None, "a NoneType"),
    ],
)
def test_a_metric_that_is_not_one_number(value: Any, what: str) -> None:
    with pytest.raises(
        PluginError, match=f"task Question: metric 'odd' gives {what} instead of one number; average it"
    ):
        computed({"odd": Fixed(value)})


def test_a_metric_per_class_of_torchmetrics_is_an_error() -> None:
    recall = torchmetrics.classification.MulticlassRecall(3, average=None)
    with pytest.raises(PluginError, match=r"'recall' gives a tensor of shape \(3,\) instead of one number"):
        computed({"recall": recall})


@pytest.mark.parametrize(
    ("metric", "fraction", "accuracy"),
    [
        (Accuracy(), True, True),
        (torchmetrics.classification.BinaryAccuracy(), True, True),
        (MeanSquaredError(), False, False),
        (torchmetrics.CosineSimilarity(), False, False),
        (Fixed(0.5), False, False),
        (Fixed(0.5, fraction=True), True, False),
    ],
)
def test_a_metric_says_whether_it_is_a_fraction(metric: Any, fraction: bool, accuracy: bool) -> None:
    metrics = Metrics({"accuracy_in_name_only": metric}, "Question")
    assert metrics.is_fraction("accuracy_in_name_only") == fraction
    assert metrics.is_accuracy("accuracy_in_name_only") == accuracy
    assert not metrics.is_fraction("loss")


class Unchanged(torch.nn.Module):
    """A model whose answers are its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        return inputs


def test_the_factor_of_a_protocol_is_on_accuracies_alone() -> None:
    task = Question(
        Classes(3),
        {"right": Accuracy(), "accuracy": Fixed(0.5)},
        best_metric="right",
        sampled_evaluation=SampledEvaluation(accuracy_factor=0.5),
    )
    batch = Batch(torch.eye(3), torch.tensor([0, 1, 1]))
    found = evaluate(Unchanged(), task, [batch])  # type: ignore[arg-type]
    assert found == pytest.approx({"loss": found["loss"], "right": 1 / 3, "accuracy": 0.5})


def test_incomplete_batches_weigh_as_much_as_others_where_the_protocol_says_so() -> None:
    """As the trainer of kzl/universal-computation: ``loss / steps`` and ``accuracy / steps``, summed over batches."""
    sizes, chance = (4, 4, 1), torch.Generator().manual_seed(0)
    logits = [torch.randn(size, 3, generator=chance) for size in sizes]
    labels = [torch.randint(3, (size,), generator=chance) for size in sizes]
    losses = [-one.log_softmax(-1)[range(len(own)), own].mean() for one, own in zip(logits, labels, strict=True)]
    right = [(one.argmax(-1) == own).float().mean() for one, own in zip(logits, labels, strict=True)]
    batches = [Batch(one, own) for one, own in zip(logits, labels, strict=True)]
    sampled = SampledEvaluation(batches=3, accuracy_factor=0.5, incomplete=True)
    by_batch = Question(Classes(3), None, sampled_evaluation=sampled)
    wanted = {"loss": float(sum(losses)) / 3, "accuracy": 0.5 * float(sum(right)) / 3}
    found = evaluate(Unchanged(), by_batch, batches)  # type: ignore[arg-type]
    assert found == pytest.approx(wanted, rel=1e-6)
    by_example = Question(Classes(3), None, sampled_evaluation=replace(sampled, incomplete=False))
    weighted = sum(float(loss) * size for loss, size in zip(losses, sizes, strict=True)) / 9
    assert evaluate(Unchanged(), by_example, batches)["loss"] == pytest.approx(weighted)  # type: ignore[arg-type]


# After validation


def test_a_metric_that_is_nan_chooses_nothing() -> None:
    task = Question(Values(1), COSINE, best_metric="cosine_similarity")
    check_selected(task, {"loss": math.nan, "cosine_similarity": -1.0}, "at step 3")
    with pytest.raises(DivergedError, match="the validation metric 'cosine_similarity' at step 3 is NaN"):
        check_selected(task, {"loss": 1.0, "cosine_similarity": math.nan}, "at step 3")


def test_a_metric_of_several_values_chooses_nothing() -> None:
    task = Question(Classes(3), {"recall": Fixed(0, higher_is_better=True)}, best_metric="recall")
    with pytest.raises(PluginError, match="best_metric 'recall' is not among the values loss, recall_a"):
        check_selected(task, {"loss": 1.0, "recall_a": 0.5}, "at step 3")
