"""Answers that are classes: against scikit-learn and naive NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fptkit.engine.assessment.accumulate import assess
from fptkit.engine.assessment.classes import BINS, PLACES, ClassAssessment
from fptkit.interfaces import IGNORED, Classes, TokenClasses

metrics = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")


def answers(count: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of answers that are right in some of the cases, in double precision."""
    chance = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (count,), generator=chance)
    logits = torch.randn(count, classes, generator=chance, dtype=torch.float64)
    logits[torch.arange(count), targets] += 1.0
    return logits, targets


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_figures_of_each_class_are_those_of_scikit_learn(classes: int) -> None:
    logits, targets = answers(500, classes)
    targets[targets == 1] = 0  # a class that does not occur
    found = assess(Classes(classes), logits, targets)
    predicted = logits.argmax(1).numpy()
    labels = list(range(classes))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        targets.numpy(), predicted, labels=labels, zero_division=np.nan
    )
    assert [one.support for one in found.classes] == support.tolist()
    ours = np.array([[one.precision, one.recall, one.f1] for one in found.classes], float)
    np.testing.assert_allclose(ours, np.stack([precision, recall, f1], 1), rtol=1e-12)
    assert found.matrix == metrics.confusion_matrix(targets.numpy(), predicted, labels=labels).tolist()
    assert found.accuracy == pytest.approx(metrics.accuracy_score(targets.numpy(), predicted))
    present = [one for one in labels if support[one]]
    assert found.balanced_accuracy == pytest.approx(np.mean(recall[present]))
    assert found.macro_f1 == pytest.approx(np.nanmean(f1))
    if classes >= 10:
        top = metrics.top_k_accuracy_score(targets.numpy(), logits.numpy(), k=5, labels=labels)
        assert found.top5 is not None
        assert found.top5 / found.answers == pytest.approx(top)
    else:
        assert found.top5 is None


def test_batches_give_what_all_at_once_gives() -> None:
    logits, targets = answers(101, 4)
    together = assess(Classes(4), logits, targets)
    apart = ClassAssessment(Classes(4))
    for start in range(0, 101, 7):
        apart.update(logits[start : start + 7], targets[start : start + 7])
    found = apart.result()
    assert found.model_copy(update={"calibration": ()}) == together.model_copy(update={"calibration": ()})
    assert found.calibration_error == pytest.approx(together.calibration_error)


def test_calibration_against_a_loop() -> None:
    logits, targets = answers(400, 3, seed=1)
    found = assess(Classes(3), logits, targets)
    chances = torch.softmax(logits, 1).numpy()
    error = 0.0
    for number in range(BINS):
        inside = [row for row in range(400) if number / BINS < chances[row].max() <= (number + 1) / BINS]
        assert found.calibration[number].answers == len(inside)
        if inside:
            confidence = np.mean([chances[row].max() for row in inside])
            accuracy = np.mean([chances[row].argmax() == targets[row] for row in inside])
            assert found.calibration[number].confidence == pytest.approx(confidence)
            assert found.calibration[number].accuracy == pytest.approx(accuracy)
            error += len(inside) / 400 * abs(confidence - accuracy)
    assert found.calibration_error == pytest.approx(error)


def test_certain_answers_are_in_the_last_bin() -> None:
    found = assess(Classes(2), torch.tensor([[100.0, -100.0]]), torch.tensor([0]))
    assert found.calibration[-1].answers == 1
    assert found.calibration_error == 0


@pytest.mark.parametrize(("right", "count"), [(30, 40), (0, 7), (7, 7), (499, 500)])
def test_interval_is_that_of_wilson(right: int, count: int) -> None:
    logits = torch.zeros(count, 2)
    logits[:, 0] = 1
    targets = torch.tensor([0] * right + [1] * (count - right))
    found = assess(Classes(2), logits, targets)
    reference = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert found.interval == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_interval_over_examples_with_several_answers() -> None:
    """The half width is that of the variance over examples, not over answers."""
    right = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]])
    logits = torch.nn.functional.one_hot(right, 2).double()
    found = assess(Classes(2, tokens=4), logits, torch.ones(4, 4, dtype=torch.int64))
    parts = right.double().mean(1).numpy()
    half = 1.959964 * parts.std(ddof=1) / 2
    low, high = found.interval or (0, 0)
    assert low == pytest.approx(parts.mean() - half, abs=1e-6)
    assert high == pytest.approx(min(1, parts.mean() + half), abs=1e-6)
    assert found.examples == 4


def test_all_right_still_has_an_interval() -> None:
    logits = torch.nn.functional.one_hot(torch.zeros(10, 8, dtype=torch.int64), 2).double()
    found = assess(Classes(2, tokens=8), logits, torch.zeros(10, 8, dtype=torch.int64))
    reference = stats.binomtest(10, 10).proportion_ci(0.95, method="wilson")  # of ten examples, not of 80 answers
    assert found.interval == pytest.approx((reference.low, 1.0), abs=1e-12)


def test_labels_have_figures_each() -> None:
    chance = torch.Generator().manual_seed(0)
    targets = torch.randint(2, (60, 1, 3), generator=chance)
    logits = torch.randn(60, 1, 3, 2, generator=chance)
    found = assess(Classes(2, per_token=3, names=("no", "yes"), answers=("a", "b", "c")), logits, targets)
    assert found.place == "label"
    for number, place in enumerate(found.places):
        true, said = targets[:, 0, number].numpy(), logits[:, 0, number].argmax(-1).numpy()
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(true, said, average="binary")
        yes = place.classes[1]
        assert (yes.precision, yes.recall, yes.f1) == pytest.approx((precision, recall, f1))
        assert place.name == "abc"[number]
        assert place.right == (true == said).sum()


def test_tokens_without_a_label_do_not_count() -> None:
    chance = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (5, 7), generator=chance)
    targets[0, 4:] = IGNORED
    targets[3] = IGNORED
    logits = torch.randn(5, 7, 3, generator=chance)
    found = assess(TokenClasses(3, names=("x", "y", "z")), logits, targets)
    known = targets != IGNORED
    matrix = metrics.confusion_matrix(targets[known].numpy(), logits.argmax(-1)[known].numpy(), labels=[0, 1, 2])
    assert found.matrix == matrix.tolist()
    assert found.examples == 4
    right = ((logits.argmax(-1) == targets) & known).sum(0).tolist()
    assert [place.right for place in found.places] == right
    assert [place.answers for place in found.places] == known.sum(0).tolist()
    assert [place.name for place in found.places] == list("1234567")


def test_batches_of_different_length_are_one_table_of_places() -> None:
    found = ClassAssessment(TokenClasses(3))
    for length in (2, 5, 3):
        targets = torch.zeros(2, length, dtype=torch.int64)
        found.update(torch.nn.functional.one_hot(targets, 3).double(), targets)
    assert [place.answers for place in found.result().places] == [6, 6, 4, 2, 2]


def test_many_places_are_ranges() -> None:
    targets = torch.zeros(2, 1000, dtype=torch.int64)
    found = assess(TokenClasses(3), torch.nn.functional.one_hot(targets, 3).double(), targets)
    assert len(found.places) <= PLACES
    assert found.places[0].name == "1–8"
    assert found.places[-1].name == "993–1000"
    assert sum(place.answers for place in found.places) == 2000


def test_more_classes_than_pairs_can_be_counted() -> None:
    logits, targets = answers(50, 3000)
    found = assess(Classes(3000), logits, targets)
    assert found.matrix is None
    assert found.unlisted == found.answers - found.right
    assert sum(one.right for one in found.classes) == found.right


def test_rare_confusions_of_many_classes_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fptkit.engine.assessment.classes.LISTED", 3)
    logits, targets = answers(200, 5)
    found = assess(Classes(5), logits, targets)
    assert len(found.confused) == 3
    assert found.matrix is None
    assert found.unlisted + sum(count for *_, count in found.confused) == found.answers - found.right
    counts = [count for *_, count in found.confused]
    assert counts == sorted(counts, reverse=True)


def test_predictions_that_are_not_finite_are_left_out() -> None:
    logits, targets = answers(10, 3)
    logits[4, 1] = float("nan")
    found = assess(Classes(3), logits, targets)
    assert (found.answers, found.left_out) == (9, 1)


def test_nothing_at_all() -> None:
    found = ClassAssessment(Classes(3)).result()
    assert found.accuracy is found.interval is found.macro_f1 is found.calibration_error is None
    assert found.calibration == ()
