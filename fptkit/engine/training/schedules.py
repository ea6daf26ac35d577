"""fptkit's own learning rate schedules, and the schedule of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fptkit.engine.training.options import (
    DecayOptions,
    InverseSqrtOptions,
    OneCycleOptions,
    PlateauOptions,
    WarmupOptions,
)
from fptkit.errors import PluginError
from fptkit.interfaces import Schedule
from fptkit.recipe.models import TrainOptions
from fptkit.specs import ScheduleSpec
from fptkit.specs.guard import during

Factor = Callable[[int], float]
"""The factor on every learning rate at a step, from 0."""


def after_warmup(warmup: int, then: Factor) -> Factor:
    """A schedule that rises linearly, and from step ``warmup`` on is another one."""

    def factor(step: int) -> float:
        return (step + 1) / (warmup + 1) if step < warmup else then(step)

    return factor


def constant(options: WarmupOptions, *, steps: int) -> Factor:
    """No change after the warm-up."""
    return after_warmup(options.warmup_steps, lambda step: 1.0)


def cosine(options: DecayOptions, *, steps: int) -> Factor:
    """Half a cosine, from the warm-up to the last step.

    Source: Loshchilov and Hutter 2017, section 3, without restarts, as in torch.optim.lr_scheduler.CosineAnnealingLR.
    """
    left = options.final_share

    def factor(step: int) -> float:
        return left + (1 - left) * (1 + math.cos(math.pi * _done(step, options.warmup_steps, steps))) / 2

    return after_warmup(options.warmup_steps, factor)


def linear(options: DecayOptions, *, steps: int) -> Factor:
    """A straight line, from the warm-up to the last step."""
    left = options.final_share

    def factor(step: int) -> float:
        return 1 - (1 - left) * _done(step, options.warmup_steps, steps)

    return after_warmup(options.warmup_steps, factor)


def one_cycle(options: OneCycleOptions, *, steps: int) -> Factor:
    """Up and down, each along half a cosine.

    Source: Smith and Topin 2019, as in torch.optim.lr_scheduler.OneCycleLR.
    """
    top = max(options.rise * steps - 1, 1e-9)  # torch counts the first step as 0 and the last as steps - 1
    last = max(steps - 1 - top, 1e-9)

    def factor(step: int) -> float:
        if step <= top:
            return _between(options.start_share, 1.0, step / top)
        return _between(1.0, options.final_share, min(1.0, (step - top) / last))

    return factor


def inverse_sqrt(options: InverseSqrtOptions, *, steps: int) -> Factor:
    """One over the square root of the step, after the warm-up.

    Source: Vaswani et al. 2017, section 5.3, divided by its largest value.
    """
    warmup = options.warmup_steps

    def factor(step: int) -> float:
        return min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5)

    return factor


def _done(step: int, start: int, end: int) -> float:
    return (step - start) / (end - start)


def _between(start: float, end: float, done: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


class plateau(Schedule):
    """Falls when validation no longer improves.

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau without threshold and cooldown, but patience counts as
    ``train.patience`` does: torch's is one less.
    """

    def __init__(self, options: PlateauOptions, *, steps: int) -> None:
        self._options = options
        self._share, self._stale = 1.0, 0

    def factor(self, step: int) -> float:
        """See `fptkit.Schedule.factor`."""
        return min((step + 1) / (self._options.warmup_steps + 1), 1.0) * self._share

    def validated(self, *, improved: bool) -> None:
        """See `fptkit.Schedule.validated`."""
        self._stale = 0 if improved else self._stale + 1
        if self._stale >= self._options.patience:
            self._share *= self._options.factor
            self._stale = 0

    def state(self) -> dict[str, Any]:
        """See `fptkit.Schedule.state`."""
        return {"factor": self._share, "validations": self._stale}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `fptkit.Schedule.restore`."""
        self._share, self._stale = state.get("factor", 1.0), state.get("validations", 0)


class FunctionSchedule(Schedule):
    """A schedule that is a function of the step.

    Args:
        function: the function.
    """

    def __init__(self, function: Factor) -> None:
        self._function = function

    def factor(self, step: int) -> float:
        """See `fptkit.Schedule.factor`."""
        return self._function(step)


def as_schedule(built: object, spec: ScheduleSpec) -> Schedule:
    """What a schedule's target returned, as a `fptkit.Schedule`.

    Raises:
        PluginError: it is neither a schedule nor a function.
    """
    with during(of=spec):
        if isinstance(built, Schedule):
            return built
        if not callable(built):
            raise PluginError(f"{spec}: it returned {built!r:.80}, expected a function or a fptkit.Schedule")
        return FunctionSchedule(built)


def checked_factor(schedule: Schedule, step: int) -> float:
    """The factor of a schedule at a step.

    Raises:
        PluginError: it is not a number of at least 0.
    """
    factor = schedule.factor(step)
    number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
    if not number or not 0 <= factor < math.inf:
        with during(of=schedule, call="factor"):
            raise PluginError(f"the schedule's factor at step {step} is {factor!r:.80}, expected a number >= 0")
    return factor


def schedule_of(options: TrainOptions) -> Schedule:
    """The schedule of ``train.schedule``.

    Args:
        options: the recipe's ``train`` section, with the last step in ``max_steps``.
    """
    given, steps = options.schedule, options.max_steps
    if given.name == "plateau":
        return plateau(
            PlateauOptions(warmup_steps=given.warmup_steps, patience=given.patience, factor=given.factor), steps=steps
        )
    if given.name == "cosine":
        falling = DecayOptions(warmup_steps=given.warmup_steps, final_share=given.final_share)
        return FunctionSchedule(cosine(falling, steps=steps))
    return FunctionSchedule(constant(WarmupOptions(warmup_steps=given.warmup_steps), steps=steps))
