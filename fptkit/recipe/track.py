"""``--track NAME``: a listener in addition to those a recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fptkit.recipe.check import check_component
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Component
from fptkit.recipe.tree import Fault, Faults, Node, Place, recipe_error
from fptkit.registry import Registry
from fptkit.specs import ListenerSpec


def tracked(loaded: LoadedRecipe, names: Sequence[str]) -> LoadedRecipe:
    """The recipe with these listeners, at their default options; those it names already keep their own options.

    Args:
        loaded: the checked recipe.
        names: names of listeners.

    Raises:
        RecipeError: there is no such listener, or it has an option without a default.
        PluginError: the package that a listener needs is not installed.
    """
    recipe = loaded.recipe
    known = {listener.name for listener in recipe.listeners}
    added = [_listener(name, loaded.registry) for name in dict.fromkeys(names) if name not in known]
    return replace(loaded, recipe=recipe.model_copy(update={"listeners": (*recipe.listeners, *added)}))


def _listener(name: str, registry: Registry) -> Component:
    place = Place(f"--track {name}", layer=1)
    faults: list[Fault] = Faults()
    found = check_component(Node({"name": Node(name, place)}, place), ListenerSpec, registry, "", faults)
    if found is None:
        raise recipe_error(faults)
    registry.get(ListenerSpec, name).resolve()
    return found
