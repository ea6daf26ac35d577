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
from fptkit.specs import ScheduleSpec, guard


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


def test_the_first_fall_waits_for_the_whole_patience() -> None:
    made = schedule_of(TrainOptions(schedule=ScheduleOptions(name="plateau", patience=2, factor=0.5, warmup_steps=3)))
    made.restore({})
    assert made.state() == {"factor": 1.0, "validations": 0}
    made.validated(improved=False)
    assert [made.factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    made.validated(improved=False)
    assert made.factor(9) == 0.5


def test_a_state_without_validations_is_that_of_the_start() -> None:
    made = plateau(options.PlateauOptions(patience=2), steps=50)
    before = made.state()
    made.validated(improved=False)
    made.restore({})
    assert made.state() == before


def test_warm_up_ends_before_the_step_of_its_number() -> None:
    made = schedules.after_warmup(2, lambda step: 0.25)
    assert [made(step) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 0.25, 0.25])


def test_the_rate_falls_by_the_plateau_in_warm_up_too() -> None:
    made = plateau(options.PlateauOptions(warmup_steps=4), steps=50)
    made.restore({"factor": 0.5, "validations": 1})
    assert [made.factor(step) for step in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert made.state() == {"factor": 0.5, "validations": 1}


@pytest.mark.parametrize(("rise", "steps"), [(0.1, 40), (0.3, 40), (0.75, 40), (0.1, 15), (0.85, 4)])
def test_one_cycle_is_torchs(rise: float, steps: int) -> None:
    theirs = lr_scheduler.OneCycleLR(
        optimizer(), max_lr=1.0, total_steps=steps, pct_start=rise, div_factor=20.0, final_div_factor=5.0
    )
    made = schedules.one_cycle(options.OneCycleOptions(rise=rise, start_share=0.05, final_share=0.01), steps=steps)
    assert [made(step) for step in range(steps)] == pytest.approx([*rates(theirs, steps - 1), 0.01], abs=1e-9)
    assert made(steps + 3) == pytest.approx(0.01), "it stays there"


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


@pytest.mark.parametrize("factor", [0, 0.3, 1, 2.5])
def test_a_factor_is_that_of_its_step(factor: float) -> None:
    assert checked_factor(as_schedule(lambda step: factor if step == 3 else 9.0, SPEC), 3) == factor


class Wrong(Schedule):
    """A plugin's schedule that fails."""

    def factor(self, step: int) -> float:
        """No factor."""
        return -1.0


def test_errors_say_whose_schedule_it_is_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_OWNERS", {})
    guard.claim("mine 1.0", __name__, [SPEC])
    with (
        pytest.raises(
            PluginError, match=r"(?s)at step 3 .* plugin mine 1\.0, at \S*test_schedules\.py:\d+: def factor"
        ),
        guard.plugin_faults(),
    ):
        checked_factor(Wrong(), 3)
    with pytest.raises(PluginError, match=r"(?s)expected a function .* plugin mine 1\.0"), guard.plugin_faults():
        as_schedule(None, SPEC)


def test_the_base_class_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="Schedule does not implement factor"):
        Schedule().factor(0)
