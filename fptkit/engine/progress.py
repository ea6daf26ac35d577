"""The state of a training loop between steps, and what follows from it: the learning rate, and when training ends."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from fptkit.errors import CheckpointError, UsageError
from fptkit.recipe.models import ScheduleOptions, TrainOptions

End = Literal["steps", "patience", "seconds"]
"""What ends training."""


@dataclass
class Progress:
    """The state of the loop between steps; saved with each checkpoint.

    Args:
        step: training steps done.
        validated_step: step of the last validation, -1 before the first.
        best_step: step with the best validation metric.
        best_metrics: validation metrics at that step.
        stale_validations: validations since then.
        examples: training examples seen.
        seconds: time spent in training steps, evaluation and checkpoints left out.
        loss_sum: sum of the losses not yet reported.
        loss_count: number of these losses.
        events: events emitted; a resumed run continues after this many.
        plateau_validations: validations without improvement since the last improvement or the last fall of the rate.
        plateau_factor: factor on the learning rate from the schedule ``plateau`` so far.
        parts: micro-batches per step: ``train.accumulate``, or more after memory ran out.
        evaluation_parts: micro-batches per evaluation batch: 1, or more after memory ran out.
    """

    step: int = 0
    validated_step: int = -1
    best_step: int = 0
    best_metrics: dict[str, float] | None = None
    stale_validations: int = 0
    examples: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    events: int = 0
    plateau_validations: int = 0
    plateau_factor: float = 1.0
    parts: int = 1
    evaluation_parts: int = 1

    @property
    def is_possible(self) -> bool:
        """Whether the numbers can be those of one training."""
        counts = (self.step, self.best_step, self.stale_validations, self.examples, self.loss_count, self.events)
        return (
            min(*counts, self.plateau_validations) >= 0
            and min(self.parts, self.evaluation_parts) >= 1
            and -1 <= self.validated_step <= self.step
            and self.best_step <= self.step
            and self.seconds >= 0
        )

    @property
    def examples_per_second(self) -> float:
        """Training throughput so far."""
        return self.examples / self.seconds if self.seconds else 0.0


def restored(state: Mapping[str, Any], parts: int, file: Path) -> Progress:
    """The progress that a checkpoint saved.

    Args:
        state: its values by name.
        parts: micro-batches per step, if an earlier version of fptkit did not save them.
        file: the file it is from, for the message.

    Raises:
        CheckpointError: a name is unknown, or a value of the wrong type or impossible.
    """
    known = {field.name for field in dataclasses.fields(Progress)}
    if unknown := sorted(state.keys() - known):
        raise CheckpointError(f"{file} is of another version of fptkit: unknown '{unknown[0]}'")
    try:
        found = TypeAdapter(Progress).validate_json(json.dumps({"parts": parts, **state}), strict=True)
    except ValidationError as err:
        fault = err.errors(include_url=False)[0]
        place = ".".join(["state", *map(str, fault["loc"])])
        raise CheckpointError(f"{file} is damaged: {place}: {fault['msg'].lower()}") from err
    if not found.is_possible:
        raise CheckpointError(f"{file} is damaged: its numbers of steps and examples contradict each other")
    return found


def learning_rate_factor(options: TrainOptions, progress: Progress) -> float:
    """Factor on every learning rate at the coming step; see `ScheduleOptions`.

    Args:
        options: give the schedule and the last step.
        progress: only its ``step`` and ``plateau_factor`` matter, so a resumed run sees the same.
    """
    schedule, step = options.schedule, progress.step
    if step < schedule.warmup_steps:
        return (step + 1) / (schedule.warmup_steps + 1) * progress.plateau_factor
    if schedule.name != "cosine":
        return progress.plateau_factor
    done = (step - schedule.warmup_steps) / (options.max_steps - schedule.warmup_steps)
    return schedule.final_share + (1 - schedule.final_share) * (1 + math.cos(math.pi * done)) / 2


def note_validation(progress: Progress, schedule: ScheduleOptions, *, improved: bool) -> None:
    """Update the plateau schedule after a validation: lower its factor when its patience ends."""
    if schedule.name != "plateau":
        return
    progress.plateau_validations = 0 if improved else progress.plateau_validations + 1
    if progress.plateau_validations >= schedule.patience:
        progress.plateau_factor *= schedule.factor
        progress.plateau_validations = 0


def ended_by(options: TrainOptions, progress: Progress) -> End | None:
    """What ends training now; None if it continues.

    Args:
        options: with the last step in ``max_steps``, see `last_step`.
        progress: only its ``step``, ``stale_validations`` and ``seconds`` matter, so a resumed run sees the same.
    """
    if progress.step >= options.max_steps:
        return "steps"
    if options.patience is not None and progress.stale_validations >= options.patience:
        return "patience"
    if options.max_seconds is not None and progress.seconds >= options.max_seconds:
        return "seconds"
    return None


def last_step(options: TrainOptions, flops_per_step: float) -> int:
    """The last step at the latest: ``max_steps``, or as many as ``max_flops`` allows."""
    if options.max_flops is None or not flops_per_step:
        return options.max_steps
    return min(options.max_steps, max(1, int(options.max_flops // flops_per_step)))


def with_last_step(train: TrainOptions, flops_per_step: int) -> TrainOptions:
    """The options with the last step, at the latest, in ``max_steps``.

    Raises:
        UsageError: the warm-up would not end before it.
    """
    steps = last_step(train, flops_per_step)
    if train.schedule.warmup_steps and train.schedule.warmup_steps >= steps:
        raise UsageError(
            f"train.schedule.warmup_steps is {train.schedule.warmup_steps}, but train.max_flops ends training at "
            f"step {steps}, at {flops_per_step:.3g} floating-point operations each"
        )
    return train.model_copy(update={"max_steps": steps})


def pause_step(options: TrainOptions, pause_at: int) -> int:
    """The step of the first validation at or after ``pause_at``: a pause there changes nothing that follows."""
    return -(-pause_at // options.validate_every) * options.validate_every
