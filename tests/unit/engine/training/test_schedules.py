"""Learning rates over a run, against torch's own schedulers."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from fptkit.engine.training import options, schedules
from fptkit.engine.training.schedules import as_schedule, checked_factor, plateau, schedule_of
from fptkit.errors import PluginError
from fptkit.interfaces import Schedule
from fptkit.recipe.models import ScheduleOptions, TrainOptions
from fptkit.specs import ScheduleSpec


def factors(steps: int, **schedule: Any) -> list[float]:
    made = schedule_of(TrainOptions(max_steps=steps, schedule=ScheduleOptions(**schedule)))
    return [made.factor(step) for step in range(steps)]


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def rates(scheduler: lr_scheduler.LRScheduler, steps: int) -> list[float]:
    """What torch's scheduler makes of a rate of 1, step by step."""
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_the_default_leaves_every_rate_exactly_as_it_is() -> None:
    assert TrainOptions().schedule == ScheduleOptions(name="constant", warmup_steps=0)
    assert factors(50) == [1.0] * 50


def test_warm_up_is_torchs_linear_one() -> None:
    expected = rates(lr_scheduler.LinearLR(optimizer(), start_factor=1 / 8, total_iters=7), 20)
    assert factors(20, warmup_steps=7) == pytest.approx(expected, abs=1e-12)
    assert factors(20, warmup_steps=7)[7:] == [1.0] * 13


@pytest.mark.parametrize("final_share", [0.0, 0.25])
def test_cosine_is_torchs(final_share: float) -> None:
    expected = rates(lr_scheduler.CosineAnnealingLR(optimizer(), T_max=40, eta_min=final_share), 40)
    assert factors(40, name="cosine", final_share=final_share) == pytest.approx(expected, abs=1e-12)


def test_cosine_after_warm_up_starts_where_warm_up_ends() -> None:
    found = factors(40, name="cosine", warmup_steps=10, final_share=0.1)
    assert found[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert found[10:] == pytest.approx(factors(30, name="cosine", final_share=0.1))
    assert min(found[10:]) > 0.1  # the share is reached when the last step is done


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_plateau_is_torchs(patience: int) -> None:
    """Torch lowers the rate at the first bad validation above its patience, this one at that of its patience."""
    metrics = [random.Random(patience).random() for _ in range(60)]
    # Without an epsilon torch, too, follows falls as small as these.
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer(), mode="max", factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0
    )
    made = schedule_of(
        TrainOptions(schedule=ScheduleOptions(name="plateau", patience=patience, factor=0.5), patience=None)
    )
    best, found, expected = float("-inf"), [], []
    for metric in metrics:
        theirs.step(metric)
        expected.append(theirs.optimizer.param_groups[0]["lr"])
        made.validated(improved=metric > best)
        best = max(best, metric)
        found.append(made.factor(0))
    assert found == expected
    assert len(set(found)) > 10


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_validations_change_no_other_schedule(name: Any) -> None:
    made = schedule_of(TrainOptions(schedule=ScheduleOptions(name=name)))
    before = [made.factor(step) for step in range(9)]
    for _ in range(9):
        made.validated(improved=False)
    assert [made.factor(step) for step in range(9)] == before
    assert made.state() == {}


def test_the_rate_falls_by_the_plateau_in_warm_up_too() -> None:
    made = plateau(options.PlateauOptions(warmup_steps=4), steps=50)
    made.restore({"factor": 0.5, "validations": 1})
    assert [made.factor(step) for step in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert made.state() == {"factor": 0.5, "validations": 1}


@pytest.mark.parametrize("rise", [0.1, 0.3, 0.75])
def test_one_cycle_is_torchs(rise: float) -> None:
    theirs = lr_scheduler.OneCycleLR(
        optimizer(), max_lr=1.0, total_steps=40, pct_start=rise, div_factor=20.0, final_div_factor=5.0
    )
    made = schedules.one_cycle(options.OneCycleOptions(rise=rise, start_share=0.05, final_share=0.01), steps=40)
    assert [made(step) for step in range(40)] == pytest.approx([*rates(theirs, 39), 0.01], abs=1e-9)


def test_linear_is_torchs() -> None:
    theirs = lr_scheduler.LinearLR(optimizer(), start_factor=1.0, end_factor=0.2, total_iters=30)
    made = schedules.linear(options.DecayOptions(warmup_steps=10, final_share=0.2), steps=40)
    assert [made(step) for step in range(10, 40)] == pytest.approx(rates(theirs, 30), abs=1e-9)
    assert made(0) == pytest.approx(1 / 11)


def test_inverse_square_root_is_that_of_the_paper() -> None:
    made = schedules.inverse_sqrt(options.InverseSqrtOptions(warmup_steps=16), steps=100)
    paper = [min((step + 1) ** -0.5, (step + 1) * 16**-1.5) for step in range(100)]
    assert [made(step) for step in range(100)] == pytest.approx([value / max(paper) for value in paper])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_schedules_of_a_few_steps_are_finite(steps: int) -> None:
    for made in (
        schedules.one_cycle(options.OneCycleOptions(), steps=steps),
        schedules.linear(options.DecayOptions(), steps=steps),
        schedules.inverse_sqrt(options.InverseSqrtOptions(), steps=steps),
    ):
        assert all(0 <= made(step) <= 1 for step in range(steps))


SPEC = ScheduleSpec(name="mine", summary="x", target="a:b")


@pytest.mark.parametrize("built", [None, 0.5, "linear"])
def test_what_is_no_schedule_is_refused(built: object) -> None:
    with pytest.raises(PluginError, match=r"expected a function or a fptkit\.Schedule"):
        as_schedule(built, SPEC)


@pytest.mark.parametrize("factor", [-0.1, float("nan"), float("inf"), None, "1", True, torch.ones(2)])
def test_a_factor_that_is_no_number_is_refused(factor: object) -> None:
    with pytest.raises(PluginError, match=r"factor at step 3 is .*, expected a number >= 0"):
        checked_factor(as_schedule(lambda step: factor, SPEC), 3)


def test_the_base_class_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="Schedule does not implement factor"):
        Schedule().factor(0)
