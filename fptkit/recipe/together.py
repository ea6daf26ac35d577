"""Sections of a recipe that belong together: two places for one thing, and settings that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from fptkit.options import Options
from fptkit.recipe.models import HeadOptions, Recipe, ScheduleOptions, TrainOptions
from fptkit.recipe.tree import Fault, Node, join
from fptkit.registry import Registry
from fptkit.specs import ScheduleSpec

_SETTINGS: tuple[tuple[str, str, str, type[Options]], ...] = (
    ("train", "schedule", "schedule", ScheduleOptions),
    ("head", "readout", "readout", HeadOptions),
)
"""Sections with a setting that can name a component, the setting, the key of the component, and the model with the
names that the setting means by itself."""

_OF_ADAMW = ("adam_betas", "adam_epsilon", "weight_decay")
"""Settings of ``train`` for the optimizer of recipes that name none."""


def moved(tree: Node, faults: list[Fault]) -> tuple[Node, dict[str, str]]:
    """The recipe with ``train.schedule`` and ``head.readout`` as sections of their own, if they name any component.

    Args:
        tree: the complete recipe.
        faults: a fault is appended if the recipe has both.

    Returns:
        The tree, and for each section that moved its place in the file.
    """
    places = {}
    for section, key, target, model in _SETTINGS:
        outer = tree.mapping.get(section)
        inner = outer.mapping.get(key) if outer is not None else None
        if outer is None or inner is None or not _names_a_component(inner, key, model):
            continue
        rest = replace(outer, value={name: node for name, node in outer.mapping.items() if name != key})
        if _given(tree, target):
            message = f"is given twice, here and as {target}; leave one out"
            faults.append(Fault(inner.place, join(section, key), message))
            tree = replace(tree, value={**tree.mapping, section: rest})
            continue
        tree = replace(tree, value={**tree.mapping, section: rest, target: inner})
        places[target] = join(section, key)
    return tree, places


def _names_a_component(node: Node, key: str, model: type[Options]) -> bool:
    """Whether a setting is more than one of the names that it means by itself."""
    field = "name" if "name" in model.model_fields else key
    own = get_args(model.model_fields[field].annotation)
    name = node.mapping.get("name")
    if field == key:  # a name, or a section with options
        return name is not None or (isinstance(node.value, str) and node.value not in own)
    return isinstance(node.value, str) or (name is not None and isinstance(name.value, str) and name.value not in own)


def _given(tree: Node, key: str) -> bool:
    node = tree.mapping.get(key)
    return node is not None and node.value is not None


def contradictions(tree: Node, recipe: Recipe, registry: Registry, places: Mapping[str, str]) -> Iterator[Fault]:
    """Settings that would be ignored, or cannot both hold.

    Args:
        tree: the complete recipe, after `moved`.
        recipe: what was made of it.
        registry: where names are looked up.
        places: result of `moved`.
    """
    train = recipe.train
    if recipe.optimizer is not None:
        for name in _OF_ADAMW:
            if _changed(train, name):
                message = "is a setting of the optimizer of recipes that name none; make it an option of optimizer"
                yield _fault(tree, ("train", name), message)
    if recipe.schedule is not None:
        if _changed(train, "schedule"):
            yield _fault(tree, ("train", "schedule"), "is given twice, here and as schedule; leave one out")
        where = places.get("schedule", "schedule")
        for message in _misfits_of_schedule(recipe.schedule.name, recipe.schedule.options, train, registry):
            yield Fault(tree.mapping["schedule"].place, where, message)
    if recipe.readout is not None and _changed(recipe.head, "readout"):
        yield _fault(tree, ("head", "readout"), "is given twice, here and as readout; leave one out")
    names = [metric.name for metric in recipe.metrics]
    for number, name in enumerate(names):
        if name in names[:number]:
            node = tree.mapping["metrics"].items[number]
            yield Fault(node.place, join("metrics", number), f"metric '{name}' is given twice; leave one out")


def _changed(options: Options, name: str) -> bool:
    return bool(getattr(options, name) != type(options).model_fields[name].get_default())


def _fault(tree: Node, keys: tuple[str, str], message: str) -> Fault:
    section, key = keys
    return Fault(tree.mapping[section].mapping[key].place, join(section, key), message)


def _misfits_of_schedule(name: str, options: Any, train: TrainOptions, registry: Registry) -> Iterator[str]:
    entry = registry.entry(ScheduleSpec, name)
    # Options of plugins may mean something else by these names.
    own = entry.owner.origin == "builtin"
    warmup, patience = (getattr(options, key, 0) if own else 0 for key in ("warmup_steps", "patience"))
    if warmup >= train.max_steps:
        yield f"warmup_steps must be below train.max_steps, but {warmup} is not below {train.max_steps}"
    if train.patience is not None and patience >= train.patience:
        yield (
            f"patience must be below train.patience, but with {patience} and {train.patience} training ends before the "
            "learning rate falls"
        )
    if train.max_seconds is not None and getattr(entry.spec, "needs_last_step", False):
        yield (
            f"the schedule {name} needs a known last step, which train.max_seconds does not give; leave one of the two "
            "out, or limit training by train.max_steps or train.max_flops"
        )
