"""The schedule of a pretraining, by steps and by the clock."""

from __future__ import annotations

import numpy as np
import pytest

from fptkit.lab.pretraining.loop import (
    Progress,
    learning_rate_factor,
    settle_schedule,
)
from fptkit.lab.pretraining.options import PretrainTrain


def test_schedule_in_steps() -> None:
    train = PretrainTrain(max_steps=100, warmup_steps=4, cooldown_share=0.2)
    progress = Progress()
    settle_schedule(progress, train)
    assert (progress.cooldown_from, progress.end) == (80, 100)
    factors = [learning_rate_factor(Progress(step, cooldown_from=80, end=100), train) for step in range(100)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:80] == [1.0] * 75
    assert factors[80] == pytest.approx(20 / 21)
    assert np.diff(factors[80:]) == pytest.approx(-1 / 21)
    assert factors[99] == pytest.approx(1 / 21)


def test_schedule_by_the_clock_is_settled_once() -> None:
    train = PretrainTrain(max_seconds=100, cooldown_share=0.5)
    progress = Progress(step=10, seconds=49.9)
    settle_schedule(progress, train)
    assert progress.end is None
    progress.step, progress.seconds = 11, 50.1
    settle_schedule(progress, train)
    assert (progress.cooldown_from, progress.end) == (11, 22)
    progress.step, progress.seconds = 15, 1000.0
    settle_schedule(progress, train)
    assert (progress.cooldown_from, progress.end) == (11, 22)


def test_clock_ends_a_training_counted_in_steps_early() -> None:
    progress = Progress(step=10, seconds=60)
    settle_schedule(progress, PretrainTrain(max_steps=1000, max_seconds=100, cooldown_share=0.5))
    assert (progress.cooldown_from, progress.end) == (10, 20)
