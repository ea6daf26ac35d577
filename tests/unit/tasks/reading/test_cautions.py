"""Warnings about splits."""

from __future__ import annotations

import numpy as np

from fptkit.tasks.reading.cautions import class_warnings, majority_accuracy, size_warnings


def test_small_splits() -> None:
    (warning,) = size_warnings({"train": 10, "validation": 30, "test": 4})
    assert warning.startswith("test has only 4 examples")
    assert "25 points" in warning


def test_absent_and_rare_classes() -> None:
    targets = {"train": np.array([0] * 9 + [1] * 2), "test": np.array([0, 2])}
    warnings = class_warnings(targets, ("a", "b", "c"))
    assert [w.split(":")[0] for w in warnings] == [
        "1 of 3 classes do not occur in train and cannot be learnt",
        "1 of 3 classes do not occur in test and are not measured there",
        "classes with fewer than 5 training examples",
    ]
    assert warnings[0].endswith("c")
    assert class_warnings({"train": np.array([0] * 5 + [1] * 5), "test": np.array([0, 1])}, ("a", "b")) == ()


def test_majority_accuracy() -> None:
    assert majority_accuracy({"train": np.array([1, 1, 0]), "test": np.array([0, 1, 0, 0])}) == {
        "train": 2 / 3,
        "test": 0.25,
    }
