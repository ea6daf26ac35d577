"""Composes the recipe of each cell from the fragments of a study, and the recipe of each trial from its cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from fptkit.lab.studies.options import BudgetOptions, StudySettings
from fptkit.lab.studies.plan import Cell, SearchedCell, Trial
from fptkit.recipe.extends import chosen_profile, merge, named_sections, profiles_of, without_key
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import DEFAULT_NAMES, Recipe, TrainOptions
from fptkit.recipe.tree import Fault, Node, Place, join

ENDLESS_STEPS = 1_000_000_000
"""``train.max_steps`` under a budget of seconds or FLOPs: high enough never to be the limit."""


@dataclass(frozen=True)
class Fragment:
    """A task or an arm of a study, as written in the file.

    Args:
        name: its name.
        bases: trees of the recipes it extends, the lowest first.
        own: its own keys.
        summary: one line that describes it.
    """

    name: str
    bases: tuple[Node, ...]
    own: Node
    summary: str = ""


def compose(fragments: Sequence[Fragment], recipe_profile: Node | None, faults: list[Fault]) -> Node:
    """Compose the recipe of a cell before the study's budget: all bases, then their profile, then all own keys.

    Args:
        fragments: the task, if there is one, then the arm.
        recipe_profile: name of the profile of the bases, or None.
        faults: list to which faults are appended.

    Returns:
        One tree without ``extends`` and ``profiles``, with the plugins of all layers.
    """
    # A fault of the composed recipe, such as a missing task, is reported at the arm.
    place = fragments[-1].own.place
    bases = [base for fragment in fragments for base in fragment.bases]
    owns = [fragment.own for fragment in fragments]
    below = reduce(merge, [named_sections(DEFAULT_NAMES, place), *bases])
    profiles = profiles_of(below, faults)
    layers = [without_key(below, "profiles")]
    if recipe_profile is not None and isinstance(recipe_profile.value, str):
        layers += chosen_profile(recipe_profile.value, profiles, recipe_profile.place, "recipe_profile", faults)
    tree = reduce(merge, [*layers, *owns])
    plugins = plugins_of([*bases, *owns], place)
    return Node({**tree.mapping, "plugins": plugins} if plugins else tree.mapping, place)


def plugins_of(trees: Sequence[Node], place: Place) -> Node | None:
    """Merge the plugins of several trees into one list without duplicates; None if there are none."""
    nodes = [node for tree in trees if (node := tree.mapping.get("plugins")) is not None]
    entries = {str(entry.value): entry for node in nodes for entry in node.items}
    if unusable := [node for node in nodes if not isinstance(node.value, list)]:
        return unusable[0]  # checking the recipe reports its fault
    return Node(list(entries.values()), nodes[0].place if nodes else place) if entries else None


def with_budget(tree: Node, budget: BudgetOptions, asked: Node, owns: Sequence[Node]) -> Node:
    """Set the training length of a cell's recipe to the study's budget, the same for every arm.

    The other two limits are lifted. Early stopping applies only if a task's or an arm's own keys set
    ``train.patience``: with a base's patience, an arm that learns slowly would get less training than the others. A
    budget of fewer steps than ``train.validate_every`` is validated once, at its end.

    Args:
        tree: the recipe.
        budget: the budget of every arm.
        asked: the section ``budget``, for line numbers.
        owns: own keys of the task and of the arm.
    """
    given = {key: value for key, value in budget.model_dump().items() if value is not None}
    if not given:
        return tree
    train: dict[str, Any] = {
        "max_steps": budget.steps or ENDLESS_STEPS,
        "max_seconds": budget.seconds,
        "max_flops": budget.flops,
    }
    if not any("patience" in _train(own) for own in owns):
        train["patience"] = None
    every = _train(tree).get("validate_every")
    rhythm = every.value if every else TrainOptions.model_fields["validate_every"].default
    if budget.steps and isinstance(rhythm, int) and rhythm > budget.steps:
        train["validate_every"] = budget.steps
    place = next((asked.mapping[key].place for key in given if key in asked.mapping), asked.place)
    return merge(tree, node_of({"train": train}, place))


def replaced_by_study(own: Node, settings: StudySettings, faults: list[Fault]) -> None:
    """Append a fault for each key of a fragment that the study sets for all cells; it would be ignored silently.

    Args:
        own: own keys of the fragment.
        settings: settings of the study.
        faults: list to which faults are appended.
    """
    replaced = {"seed": "seeds"}
    if settings.learning_rates:
        replaced["learning_rate"] = "learning_rates"
    if settings.budget != BudgetOptions():
        replaced.update(dict.fromkeys(("max_steps", "max_seconds", "max_flops"), "budget"))
    if settings.data_fractions != (1.0,):
        replaced["data_fraction"] = "data_fractions"
    for key, by in replaced.items():
        if node := _train(own).get(key):
            replace = "replaces" if by == "budget" else "replace"
            faults.append(
                Fault(node.place, join("train", key), f"the study's {by} {replace} this; leave one of them out")
            )


def _train(tree: Node) -> Mapping[str, Node]:
    node = tree.mapping.get("train")
    return node.mapping if node else {}


def node_of(value: Any, place: Place) -> Node:
    """Convert plain values to a tree with the same place for every node."""
    if isinstance(value, Mapping):
        return Node({key: node_of(child, place) for key, child in value.items()}, place)
    if isinstance(value, (list, tuple)):
        return Node([node_of(child, place) for child in value], place)
    return Node(value, place)


def as_cell(recipe: Recipe, fraction: float, settings: StudySettings) -> Recipe:
    """The recipe of a cell: with the study's first seed and a fraction of the training split.

    Its precision is not that of its weights alone: arms that differ in their weights are compared in the same one.

    Args:
        recipe: the composed recipe.
        fraction: in (0, 1]; 1 keeps the recipe's own.
        settings: settings of the study.
    """
    changed: dict[str, Any] = {"seed": settings.first_seeds[0]}
    if fraction != 1:
        changed["data_fraction"] = fraction
    precision = "auto_float" if recipe.precision == "auto" else recipe.precision
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=changed), "precision": precision})


def rates_of(settings: StudySettings, cell: SearchedCell) -> tuple[float, ...]:
    """Learning rates to search for a cell, ascending: the study's grid, or the recipe's own rate if there is none."""
    return tuple(sorted(settings.learning_rates)) or (cell.train.learning_rate,)


def recipe_for_trial(cell: Cell, trial: Trial) -> LoadedRecipe:
    """Make the recipe of a trial: the cell's recipe with the trial's learning rate and seed."""
    recipe = cell.loaded.recipe
    chance: dict[str, Any] = {"seed": trial.seed}
    if trial.varied:
        chance = {"seeds": recipe.train.seeds.model_copy(update={trial.varied: trial.seed})}
    train = recipe.train.model_copy(update={"learning_rate": trial.learning_rate, **chance})
    return replace(cell.loaded, recipe=recipe.model_copy(update={"train": train}))
