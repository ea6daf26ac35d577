"""The options of schedules that a recipe must not have, and what ends a run."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fptkit.engine.progress import (
    Progress,
    ended_by,
    last_step,
    pause_step,
    restored,
    with_last_step,
)
from fptkit.errors import CheckpointError, RecipeError, UsageError
from fptkit.recipe.load import load_recipe
from fptkit.recipe.models import ScheduleOptions, TrainOptions


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("schedule: {name: linaer}", "train.schedule.name", "unknown schedule 'linaer'. Did you mean 'linear'?"),
        ("schedule: {name: 3}", "train.schedule.name", "expected one of constant, cosine, plateau"),
        ("schedule: {warmup_steps: -1}", "train.schedule.warmup_steps", "expected an integer >= 0"),
        ("schedule: {name: cosine, final_share: 1.0}", "train.schedule.final_share", "expected a number >= 0 and < 1"),
        ("schedule: {name: plateau, factor: 1.0}", "train.schedule.factor", "expected a number > 0 and < 1"),
        ("schedule: {warm_up: 3}", "train.schedule", "unknown key 'warm_up'."),
        ("schedule: {final_share: 0.1}", "train.schedule.final_share", "is a setting of the cosine schedule"),
        ("schedule: {name: cosine, patience: 3}", "train.schedule.patience", "is a setting of the plateau schedule"),
        ("max_steps: 100, schedule: {warmup_steps: 100}", "train.schedule", "warmup_steps must be below"),
        ("patience: 2, schedule: {name: plateau}", "train.schedule", "patience must be below train.patience"),
        ("batch_size: 16, accumulate: 3", "train.accumulate", "must divide train.batch_size, but 16 examples"),
        ("accumulate: 0", "train.accumulate", "expected an integer >= 1"),
        ("batch_tokens: 0", "train.batch_tokens", "expected an integer >= 1 or null"),
    ],
)
def test_impossible_schedules_are_reported_with_their_place(text: str, path: str, message: str, tmp_path: Any) -> None:
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text("task: {name: bit_xor}\ntrain: {" + text + "}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(recipe))
    (problem,) = caught.value.problems
    assert (problem.where.rpartition(":")[2], problem.path) == ("2", path)
    assert problem.message.startswith(message), problem.message


def test_what_can_be() -> None:
    assert TrainOptions(max_steps=1).schedule.warmup_steps == 0
    assert TrainOptions(max_steps=100, schedule=ScheduleOptions(warmup_steps=99)).schedule.warmup_steps == 99
    assert TrainOptions(batch_size=16, accumulate=16).accumulate == 16
    assert TrainOptions(patience=3, schedule=ScheduleOptions(name="plateau", patience=2)).schedule.patience == 2
    with pytest.raises(ValidationError):
        TrainOptions(learning_rate=-1.0, schedule=ScheduleOptions(name="plateau"))


def test_which_limit_ends_a_run() -> None:
    options = TrainOptions(max_steps=10, patience=2, max_seconds=5.0)
    assert ended_by(options, Progress(step=9, stale_validations=1, seconds=4.9)) is None
    assert ended_by(options, Progress(step=10, stale_validations=2, seconds=5.0)) == "steps"
    assert ended_by(options, Progress(step=9, stale_validations=2, seconds=5.0)) == "patience"
    assert ended_by(options, Progress(step=9, stale_validations=1, seconds=5.0)) == "seconds"
    stopped = Progress(step=9, stopped="wise: enough", stale_validations=2, seconds=5.0)
    assert (ended_by(options, stopped), ended_by(options, dataclasses.replace(stopped, step=10))) == (
        "listener",
        "steps",
    )
    free = TrainOptions(max_steps=10, patience=None)
    assert ended_by(free, Progress(step=9, stale_validations=99, seconds=1e9)) is None


def test_limits_in_steps() -> None:
    options = TrainOptions(max_steps=10, validate_every=4)
    assert [pause_step(options, step) for step in (1, 4, 5, 8, 9)] == [4, 4, 8, 8, 12]
    assert last_step(options, 3.0) == 10
    limited = options.model_copy(update={"max_flops": 20.0})
    assert [last_step(limited, cost) for cost in (1.9, 2.0, 2.1, 7.0, 20.0, 21.0)] == [10, 10, 9, 2, 1, 1]
    assert last_step(limited, 0) == 10  # nothing that counts: nothing to limit


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"momentum": 1}, "of another version of fptkit: unknown 'momentum'"),
        ({"step": "x"}, "state.step: input should be a valid integer"),
        ({"step": 1.5}, "state.step: input should be a valid integer"),
        ({"step": "5"}, "state.step: input should be a valid integer"),
        ({"seconds": True}, "state.seconds: input should be a valid number"),
        ({"seconds": "x"}, "state.seconds: input should be a valid number"),
        ({"best_metrics": {"loss": "low"}}, "state.best_metrics.loss"),
        ({"step": 3, "best_step": 4}, "contradict each other"),
        ({"step": 3, "validated_step": 4}, "contradict each other"),
        ({"parts": 0}, "contradict each other"),
        ({"events": -1}, "contradict each other"),
        ({"seconds": -1.0}, "contradict each other"),
    ],
)
def test_a_damaged_state_is_refused(state: dict[str, object], problem: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        restored(state, 1, Path("run/state.json"))
    assert str(caught.value).startswith("run/state.json is")
    assert problem in str(caught.value)


def test_a_state_comes_back() -> None:
    before = Progress(step=20, validated_step=10, best_step=10, best_metrics={"loss": math.nan}, seconds=3, parts=2)
    after = restored(dataclasses.asdict(before), 1, Path("state.json"))
    assert repr(after) == repr(before).replace("seconds=3,", "seconds=3.0,")
    assert restored({"step": 5}, 4, Path("state.json")).parts == 4  # not saved by earlier versions


@pytest.mark.parametrize(
    ("state", "schedule"),
    [
        ({"plateau_factor": 0.5, "plateau_validations": 2}, {"factor": 0.5, "validations": 2}),
        ({"plateau_factor": 0.25, "plateau_validations": None}, {"factor": 0.25, "validations": 0}),
        ({"plateau_factor": None, "plateau_validations": 1}, {}),
        ({"plateau_factor": 0.5, "schedule": {"of": "a plugin"}}, {"of": "a plugin"}),
        ({}, {}),
    ],
)
def test_a_plateau_of_an_earlier_version_comes_back(state: dict[str, Any], schedule: dict[str, Any]) -> None:
    assert restored({"step": 5, **state}, 1, Path("state.json")).schedule == schedule


@pytest.mark.parametrize(
    ("max_flops", "flops_per_step", "steps"), [(None, 7, 50), (70.0, 7, 10), (76.0, 7, 10), (1.0, 7, 1), (1e9, 7, 50)]
)
def test_the_last_step_is_the_one_that_the_operations_allow(
    max_flops: float | None, flops_per_step: int, steps: int
) -> None:
    options = TrainOptions(max_steps=50, max_flops=max_flops, learning_rate=0.5)
    found = with_last_step(options, flops_per_step)
    assert found == options.model_copy(update={"max_steps": steps})


@pytest.mark.parametrize(("warmup_steps", "refused"), [(0, False), (9, False), (10, True), (11, True)])
def test_a_warm_up_ends_before_the_last_step(warmup_steps: int, refused: bool) -> None:
    options = TrainOptions(max_steps=50, max_flops=70.0, schedule=ScheduleOptions(warmup_steps=warmup_steps))
    if not refused:
        assert with_last_step(options, 7).max_steps == 10
        return
    with pytest.raises(UsageError, match=f"warmup_steps is {warmup_steps}, .*at step 10, at 7 floating-point"):
        with_last_step(options, 7)


def test_throughput_of_a_run_that_has_not_begun() -> None:
    assert Progress(examples=10).examples_per_second == 0.0
    assert Progress(examples=10, seconds=4.0).examples_per_second == 2.5
