"""What is predicted: classes, labels, numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, mean_absolute_error
from sklearn.preprocessing import MultiLabelBinarizer

from fptkit.errors import DataError, UsageError
from fptkit.interfaces import Classes, Examples, Values
from fptkit.tasks.own_data.target import Target, fit_target
from fptkit.tasks.reading.options import TargetOptions

CHANCE = np.random.default_rng(0)


def examples(**labels: list[str]) -> Examples:
    count = len(next(iter(labels.values()), [None]))
    return Examples([None] * count, [f"t.csv:{row + 2}" for row in range(count)], labels)


def fitted(found: Examples, train: list[int] | None = None, **options: object) -> Target:
    options = TargetOptions.model_validate({"source": "path:x", **options})
    return fit_target(found, train if train is not None else range(len(found)), options, missing=("", "NA"))[0]


def test_words_are_classes() -> None:
    found = examples(y=["dog", "cat", " dog ", "cat"])
    target = fitted(found)
    assert target.output == Classes(2, names=("cat", "dog"))
    assert target.encode(found).tolist() == [1, 0, 1, 0]
    assert fitted(examples(y=["1", "2.0", "1.0", "2"])).names == ("1", "2")


def test_few_whole_numbers_are_classes_and_others_are_numbers() -> None:
    assert fitted(examples(y=["0", "1", "2"] * 9)).kind == "classes"
    assert fitted(examples(y=["0.5", "1"])).kind == "numbers"
    assert fitted(examples(y=[str(n) for n in range(21)])).kind == "numbers"
    assert fitted(examples(y=["0.5", "1"]), problem="classification").names == ("0.5", "1")
    assert fitted(examples(y=["0", "1", "2"] * 9), problem="regression").kind == "numbers"


def test_numbers_are_scaled_by_the_training_rows() -> None:
    values = CHANCE.normal(50, 10, 40)
    found = examples(y=[repr(float(value)) for value in values])
    target = fitted(found, list(range(30)))
    scaled = target.encode(found)
    assert scaled.dtype == torch.float32
    assert scaled.shape == (40, 1)
    assert scaled[:30].mean().item() == pytest.approx(0, abs=1e-6)
    assert scaled[:30].std(unbiased=False).item() == pytest.approx(1)
    assert [row["y"] for row in target.answers(scaled)] == pytest.approx(values.tolist(), rel=1e-5)
    assert target.output == Values(1, names=("y",))


def test_several_columns_of_numbers() -> None:
    found = examples(a=["1", "2", "3"], b=["10.5", "20.5", "60.5"])
    target = fitted(found)
    assert target.output == Values(2, names=("a", "b"))
    assert target.answers(target.encode(found))[2] == pytest.approx({"a": 3, "b": 60.5})


def test_labels_in_a_cell_against_scikit_learn() -> None:
    cells = ["red;round", "", "green", "round; red ", "green;red"]
    found = examples(tags=cells)
    target = fitted(found, separator=";")
    binary = MultiLabelBinarizer().fit([[part.strip() for part in cell.split(";") if part.strip()] for cell in cells])
    wanted = binary.transform([[part.strip() for part in cell.split(";") if part.strip()] for cell in cells])
    assert target.names == tuple(binary.classes_)
    assert target.encode(found)[:, 0].tolist() == wanted.tolist()
    assert target.output == Classes(2, per_token=3, names=("no", "yes"), answers=target.names)


def test_labels_in_columns() -> None:
    found = examples(a=["1", "0", "yes"], b=["False", "TRUE", "no"])
    target = fitted(found)
    assert target.kind == "labels"
    assert target.encode(found)[:, 0].tolist() == [[1, 0], [0, 1], [1, 0]]
    one = fitted(examples(a=["1", "0"]), problem="labels")
    assert one.output == Classes(2, names=("no", "yes"), answers=("a",))
    assert one.encode(examples(a=["1", "0"])).tolist() == [1, 0]


def test_answers_of_labels_and_classes() -> None:
    target = Target(kind="labels", columns=("t",), names=("a", "b"), separator=";")
    logits = torch.tensor([[[[0.0, 4.0], [3.0, 0.0]]]])
    (answer,) = target.answers(logits)
    assert answer["labels"] == ["a"]
    assert answer["probabilities"]["b"] == pytest.approx(1 / (1 + np.exp(3)))
    classes = Target(kind="classes", columns=("t",), names=("x", "y", "z"))
    (answer,) = classes.answers(torch.tensor([[0.0, 2.0, 1.0]]))
    assert answer["class"] == "y"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        (Target(kind="classes", columns=("y",), names=("a", "b")), (3,)),
        (Target(kind="labels", columns=("y",), names=("a", "b"), separator=";"), (3, 1, 2)),
        (Target(kind="numbers", columns=("y",), names=("y",), mean=(1.0,), deviation=(2.0,)), (3, 1)),
    ],
)
def test_unlabelled_examples_get_zeros(target: Target, shape: tuple[int, ...]) -> None:
    zeros = target.encode(Examples([None] * 3, ["a", "b", "c"]))
    assert tuple(zeros.shape) == shape == target.output.target_shape(3)
    assert not zeros.any()
    assert not next(iter(target.output.target_faults(zeros)))[0]


def test_f1_and_absolute_errors_against_scikit_learn() -> None:
    target = Target(kind="labels", columns=("y",), names=("a", "b", "c"), separator=";")
    truth = torch.from_numpy(CHANCE.integers(0, 2, (50, 1, 3)))
    logits = torch.from_numpy(CHANCE.normal(size=(50, 1, 3, 2)))
    metrics = target.metrics()
    for start in range(0, 50, 20):
        flat = target.output.for_metrics(logits[start : start + 20], truth[start : start + 20])
        metrics["f1"].update(*flat)
    wanted = f1_score(truth[:, 0].numpy(), logits.argmax(-1)[:, 0].numpy(), average="micro")
    assert float(metrics["f1"].compute()) == pytest.approx(wanted)
    numbers = Target(kind="numbers", columns=("u", "v"), names=("u", "v"), mean=(1.0, 2.0), deviation=(3.0, 0.5))
    said, right = (torch.from_numpy(CHANCE.normal(size=(30, 2))).float() for _ in range(2))
    found = numbers.metrics()
    for place, name in enumerate(numbers.names):
        metric = found[f"mean_absolute_error_{name}"]
        metric.update(said, right)
        wanted = mean_absolute_error(right[:, place], said[:, place]) * numbers.deviation[place]
        assert float(metric.compute()) == pytest.approx(wanted, rel=1e-6)
        metric.reset()
        assert np.isnan(float(metric.compute()))


def test_majority() -> None:
    classes = Target(kind="classes", columns=("y",), names=("a", "b"))
    assert classes.majority({"train": torch.tensor([1, 1, 0]), "test": torch.tensor([0, 1])}) == {
        "train": pytest.approx(2 / 3),
        "test": 0.5,
    }
    labels = Target(kind="labels", columns=("y",), names=("a", "b"), separator=";")
    train = torch.tensor([[[1, 0]], [[1, 0]], [[0, 0]]])
    assert labels.majority({"train": train})["train"] == pytest.approx(5 / 6)


def test_what_is_wrong_with_labels() -> None:
    with pytest.raises(DataError, match=r"t.csv:3: the target 'y' is missing"):
        fitted(examples(y=["a", "", "b"]))
    with pytest.raises(DataError, match=r"t.csv:3: the target 'y' is 'NA', which means a missing value.*set"):
        fitted(examples(y=["a", "NA", "b"]))
    with pytest.raises(DataError, match="at least two classes"):
        fitted(examples(y=["a", "a"]))
    with pytest.raises(DataError, match="like an identifier or free text; choose another target"):
        fitted(examples(y=[f"text {n}" for n in range(30)]))
    with pytest.raises(DataError, match=r"t.csv:3: column 'y' has numbers, but here 'x'"):
        fitted(examples(y=["1", "x", "3"]), problem="regression")
    with pytest.raises(DataError, match="target 'y' is 3 in every training example"):
        fitted(examples(y=["3", "3", "4"]), [0, 1], problem="regression")
    with pytest.raises(DataError, match=r"t.csv:3: label column 'b' has 'maybe'"):
        fitted(examples(a=["0", "1"], b=["1", "maybe"]), problem="labels")
    with pytest.raises(UsageError, match="classification predicts one column, but 2"):
        fitted(examples(a=["x", "y"], b=["1", "0"]), problem="classification")
    with pytest.raises(UsageError, match="no labels"):
        fitted(examples())


def test_a_label_that_training_never_saw() -> None:
    target = fitted(examples(y=["a", "b"]))
    with pytest.raises(DataError, match=r"t.csv:2: unknown label 'c'; the model knows a, b"):
        target.encode(examples(y=["c"]))


@pytest.mark.parametrize("form", ["{},5", "${}.50", "{}%"])
def test_numbers_in_another_style_are_no_classes(form: str) -> None:
    cells = [form.format(number % 7 + 1) for number in range(40)]
    with pytest.raises(DataError, match=r"is not a number.*if the cells are classes, set problem: classification"):
        fitted(examples(y=cells))
    assert fitted(examples(y=cells), problem="classification").kind == "classes"


def test_labels_in_columns_as_databases_write_them() -> None:
    assert fitted(examples(a=["t", "f", "f"], b=["Y", "N", "Y"])).kind == "labels"


def test_zeros_and_ones_of_arrays_are_labels() -> None:
    assert fitted(examples(a=["1.0", "0.0"], b=["0.0", "1.0"])).kind == "labels"
    assert fitted(examples(a=["1.0", "0.5"], b=["0.0", "1.0"])).kind == "numbers"
