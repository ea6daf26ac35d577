"""Baseline: a linear model of scikit-learn on the same rows with the same encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PENALTIES = tuple(10.0**power for power in range(-3, 4))
"""Regularisation strengths that are tried; the best on validation is reported, like the network's best step."""


def baseline_note(
    encoded: Sequence[NDArray[np.float32]],
    targets: NDArray[np.int64] | NDArray[np.float32],
    rows: Mapping[str, NDArray[np.int64]],
    *,
    classes: bool,
) -> str:
    """Fit logistic or ridge regression to the training rows and return a note with its results.

    Args:
        encoded: for each column the numbers of all rows, (N, width).
        targets: (N,) classes or (N, 1) scaled numbers.
        rows: rows of each split.
        classes: whether the targets are classes.
    """
    inputs = np.concatenate(encoded, axis=1).astype(np.float64)
    wanted = targets if classes else targets[:, 0]
    # Chosen by the loss, also for classes: with few rows, many penalties have the same accuracy.
    _, figures = min(_fit(inputs, wanted, rows, classes, penalty) for penalty in PENALTIES)
    if classes:
        told = ", ".join(f"{name} accuracy {value:.1%}" for name, value in figures)
        return f"for comparison, logistic regression on the same rows: {told}"
    told = ", ".join(f"{name} {value:.4f}" for name, value in figures)
    return f"for comparison, ridge regression on the same rows, mean squared error: {told}"


def _fit(
    inputs: NDArray[np.float64],
    targets: NDArray[np.int64] | NDArray[np.float32],
    rows: Mapping[str, NDArray[np.int64]],
    classes: bool,
    penalty: float,
) -> tuple[float, list[tuple[str, float]]]:
    """Return the loss on validation, and accuracy or mean squared error on validation and test."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import log_loss

    train = rows["train"]
    model = LogisticRegression(C=1 / penalty, max_iter=5000) if classes else Ridge(alpha=penalty)
    model.fit(inputs[train], targets[train])
    figures = []
    for name in ("validation", "test"):
        answers, right = model.predict(inputs[rows[name]]), targets[rows[name]]
        figures.append((name, float((answers == right).mean() if classes else ((answers - right) ** 2).mean())))
    if not classes:
        return figures[0][1], figures
    seen = rows["validation"]
    # Every class has a training row, see `split_rows`, so the model knows all classes.
    return float(log_loss(targets[seen], model.predict_proba(inputs[seen]), labels=model.classes_)), figures
