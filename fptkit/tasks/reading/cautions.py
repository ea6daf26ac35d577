"""Warnings about splits from which nothing reliable can be learnt or said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fptkit.tasks.reading.labels import shown

FEWEST = 30
"""Examples of validation or test below which a warning says how coarse its figures are."""

FEWEST_PER_CLASS = 5
"""Training examples of a class below which a warning says so."""


def size_warnings(sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Warnings about splits that are too small to mean anything.

    Args:
        sizes: number of examples of each split.
    """
    return tuple(
        f"{name} has only {size:,} examples: one of them is {100 / size:.2g} points of accuracy, so small differences "
        "mean nothing"
        for name, size in sizes.items()
        if name != "train" and 0 < size < FEWEST
    )


def class_warnings(targets: Mapping[str, NDArray[np.int64]], names: Sequence[str]) -> tuple[str, ...]:
    """Warnings about classes that are absent from a split or nearly absent from train.

    Args:
        targets: (N,) class of each example, by split.
        names: names of the classes.
    """
    warnings = []
    counts = {name: np.bincount(values.ravel(), minlength=len(names)) for name, values in targets.items()}
    for name, found in counts.items():
        if absent := [names[int(number)] for number in np.flatnonzero(found == 0)]:
            effect = "and cannot be learnt" if name == "train" else "and are not measured there"
            warnings.append(f"{len(absent)} of {len(names)} classes do not occur in {name} {effect}: {shown(absent)}")
    rare = (counts["train"] > 0) & (counts["train"] < FEWEST_PER_CLASS)
    few = [names[int(number)] for number in np.flatnonzero(rare)]
    if few:
        warnings.append(f"classes with fewer than {FEWEST_PER_CLASS} training examples: {shown(few)}")
    return tuple(warnings)


def majority_accuracy(targets: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
    """For each split, the accuracy of always answering with the most frequent class of ``train``."""
    commonest = int(np.bincount(targets["train"].ravel()).argmax())
    return {name: float((values == commonest).mean()) for name, values in targets.items()}
