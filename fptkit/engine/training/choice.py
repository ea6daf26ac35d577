"""From the sections of a recipe to the head, loss, metrics, optimizer, schedule and transforms of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch

from fptkit.engine.component import build_component
from fptkit.engine.training.losses import ChosenLoss
from fptkit.engine.training.optimizers import check_is_optimizer, groups_for_torch
from fptkit.engine.training.schedules import as_schedule, schedule_of
from fptkit.engine.training.transforms import NamedTransform
from fptkit.errors import PluginError, UsageError
from fptkit.freezing import TrainedGroup
from fptkit.interfaces import Backbone, Metric, Metrics, OutputKind, Schedule, Task, answer_kinds
from fptkit.model import CrossModalModel, Head, default_readout
from fptkit.recipe.models import Component, Recipe, TrainOptions
from fptkit.registry import Registry
from fptkit.seeds import derive_seed, seeded
from fptkit.specs import (
    HeadSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    ScheduleSpec,
    TransformSpec,
    kind_of,
)
from fptkit.specs.guard import during

OptimizerMaker = Callable[[CrossModalModel, list[TrainedGroup]], torch.optim.Optimizer]
"""Makes the optimizer of a run, from its model and the trained parameters."""

ForAnswers = TypeVar("ForAnswers", HeadSpec, LossSpec, MetricSpec)


def chosen_head(recipe: Recipe, registry: Registry, output: OutputKind, backbone: Backbone) -> Head:
    """The head of a run. Random weights are drawn from torch's global generator.

    Args:
        recipe: the recipe.
        registry: resolves its names.
        output: kind of the task's answers.
        backbone: gives the width, and decides the read-out ``auto``.

    Raises:
        UsageError: the head does not fit the answers or the backbone.
        PluginError: a plugin's head is not a `fptkit.Head`.
    """
    settings = recipe.head
    if recipe.readout is None:
        own = settings.readout
        readout = default_readout(output, causal=backbone.causal) if own == "auto" else own
        return Head(output, backbone.width, readout=readout, hidden=settings.hidden, dropout=settings.dropout)
    spec = _fitting(registry, HeadSpec, recipe.readout, output)
    if backbone.causal and spec.name == "first":
        raise UsageError(
            f"head.readout first: the backbone {recipe.backbone.name} is causal, so its first token depends on no "
            "other; use last"
        )
    arguments = {"output": output, "width": backbone.width, "hidden": settings.hidden, "dropout": settings.dropout}
    head = build_component(spec, recipe.readout.options, **arguments)
    with during(of=spec):
        if not isinstance(head, Head):
            raise PluginError(f"{spec}: it returned a {type(head).__name__}, expected a fptkit.Head")
    return head


def set_loss_and_metrics(task: Task, recipe: Recipe, registry: Registry) -> None:
    """Give a task the recipe's loss, further metrics and the metric that chooses the best step, if it names any.

    Args:
        task: changed in place.
        recipe: the recipe.
        registry: resolves its names.

    Raises:
        UsageError: one of them does not fit the task's kind of answers.
        PluginError: a plugin's loss or metric is not one.
    """
    if recipe.loss is not None:
        spec = _fitting(registry, LossSpec, recipe.loss, task.output)
        each = build_component(spec, recipe.loss.options, output=task.output)
        with during(of=spec):
            # As an attribute of this task, since tasks override the method.
            vars(task)["loss"] = ChosenLoss(spec, each, task.output)
    added = {one.name: _metric(registry, one, task.output) for one in recipe.metrics}
    for make in added.values():
        make()
    task.added_metrics = added
    if recipe.train.metric is not None:
        task.best_metric, task.higher_is_better = recipe.train.metric, None


def check_metric(recipe: Recipe, task: Task) -> None:
    """Check that ``train.metric`` is one of the run's metrics.

    Raises:
        UsageError: it is not.
    """
    wanted, known = recipe.train.metric, (*Metrics.of(task).names, "loss")
    if wanted is not None and wanted not in known:
        raise UsageError(
            f"train.metric: this run has no metric '{wanted}', only {', '.join(known)}; name one of these, or add it "
            "to metrics"
        )


def _metric(registry: Registry, component: Component, output: OutputKind) -> Callable[[], Metric]:
    """Makes a metric that a recipe names."""
    spec = _fitting(registry, MetricSpec, component, output)

    def make() -> Metric:
        metric = build_component(spec, component.options, output=output)
        with during(of=spec):
            if not all(callable(getattr(metric, name, None)) for name in ("update", "compute", "reset", "to")):
                raise PluginError(
                    f"{spec}: it returned a {type(metric).__name__}, expected an object with update(), compute(), "
                    "reset() and to()"
                )
            direction = getattr(metric, "higher_is_better", None)
            if direction != spec.higher_is_better:
                raise PluginError(
                    f"{spec}: higher_is_better of its record is {spec.higher_is_better}, that of the metric is "
                    f"{direction}; make them equal"
                )
        return cast(Metric, metric)

    return make


def chosen_schedule(recipe: Recipe, registry: Registry, options: TrainOptions) -> Schedule:
    """The learning rate schedule of a run.

    Args:
        recipe: the recipe.
        registry: resolves its names.
        options: its ``train`` section, with the last step in ``max_steps``.

    Raises:
        UsageError: the warm-up would not end before the last step.
    """
    if recipe.schedule is None:
        return schedule_of(options)
    spec, steps = registry.get(ScheduleSpec, recipe.schedule.name), options.max_steps
    entry = registry.entry(ScheduleSpec, spec.name)
    warmup = getattr(recipe.schedule.options, "warmup_steps", 0)
    if entry.owner.origin == "builtin" and warmup >= steps:
        raise UsageError(
            f"schedule.warmup_steps is {warmup}, but train.max_flops ends training at step {steps}; use a shorter one"
        )
    return as_schedule(build_component(spec, recipe.schedule.options, steps=steps), spec)


def chosen_optimizer(recipe: Recipe, registry: Registry) -> OptimizerMaker | None:
    """Makes the optimizer of a run; None if the recipe names none."""
    if recipe.optimizer is None:
        return None
    component, seed = recipe.optimizer, derive_seed(recipe.train.seed_of("init"), "optimizer")
    spec = registry.get(OptimizerSpec, component.name)

    def make(model: CrossModalModel, trained: list[TrainedGroup]) -> torch.optim.Optimizer:
        groups = groups_for_torch(trained, recipe.train.learning_rate, model.parameter_roles())
        given = [{**group, "params": list(group["params"])} for group in groups]
        with seeded(seed):
            built = build_component(spec, component.options, groups=given)
        with during(of=spec):
            return check_is_optimizer(built, groups)

    return make


def chosen_transforms(recipe: Recipe, registry: Registry, task: Task) -> list[NamedTransform]:
    """The transforms of a run's training examples, in the order of the recipe.

    Raises:
        UsageError: one of them does not fit the task's kind of inputs.
        PluginError: a plugin's transform is not a function.
    """
    found = []
    for component in recipe.transforms:
        spec = registry.get(TransformSpec, component.name)
        if task.input.name not in spec.accepts:
            fitting = [e.spec.name for e in registry.entries(TransformSpec) if task.input.name in _accepts(e.spec)]
            raise UsageError(
                f"transforms: {spec.name} accepts {' and '.join(spec.accepts)}, but the inputs of task "
                f"{recipe.task.name} are {task.input.name}; for these there are: {', '.join(fitting) or 'none'}"
            )
        change = build_component(spec, component.options, input=task.input)
        with during(of=spec):
            if not callable(change):
                raise PluginError(f"{spec}: it returned {change!r:.80}, expected a function of batch and generator")
        found.append(NamedTransform(spec, change))
    return found


def _fitting(registry: Registry, kind: type[ForAnswers], component: Component, output: OutputKind) -> ForAnswers:
    """The record of a component that must fit the task's kind of answers.

    Raises:
        UsageError: it does not.
    """
    spec, kinds = registry.get(kind, component.name), answer_kinds(output)
    if set(kinds) & set(spec.accepts):
        return spec
    row = kind_of(kind)
    fitting = [entry.spec.name for entry in registry.entries(kind) if set(kinds) & set(_accepts(entry.spec))]
    raise UsageError(
        f"{row.section}: {spec.name} accepts answers of the kind {' and '.join(spec.accepts)}, but those of the task "
        f"are {kinds[0]}; for these there are: {', '.join(fitting) or 'none'} (fptkit list {row.plural})"
    )


def _accepts(spec: object) -> tuple[str, ...]:
    return cast(tuple[str, ...], getattr(spec, "accepts", ()))
