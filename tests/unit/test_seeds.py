"""Global generators are seeded for what is built, and restored."""

from __future__ import annotations

import random

import numpy as np
import torch

from fptkit.seeds import seeded


def drawn() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_the_same_seed_gives_the_same_draws_and_leaves_no_trace() -> None:
    with seeded(2**62 + 5):
        first = drawn()
    drawn()
    with seeded(2**62 + 5):
        assert drawn() == first
    with seeded(6):
        other = drawn()
    assert all(one != two for one, two in zip(first, other, strict=True))
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    expected = drawn()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    with seeded(1):
        drawn()
    assert drawn() == expected


def test_they_are_restored_after_an_error() -> None:
    random.seed(3)
    expected = random.random()
    random.seed(3)
    try:
        with seeded(1):
            raise ValueError
    except ValueError:
        assert random.random() == expected
