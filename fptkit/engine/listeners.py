"""The listeners that a recipe names."""

from __future__ import annotations

import warnings
from pathlib import Path

from fptkit.engine.build import build_component
from fptkit.engine.events import Event, Listener
from fptkit.recipe.models import Recipe
from fptkit.registry import Registry
from fptkit.specs import ListenerSpec


def recipe_listeners(recipe: Recipe, registry: Registry, folder: Path) -> list[Listener]:
    """Build the recipe's listeners for a run folder. One that fails later is dropped, and the run continues.

    Raises:
        PluginError: one cannot be built.
    """
    return [
        _Guarded(
            section.name, build_component(registry.get(ListenerSpec, section.name), section.options, folder=folder)
        )
        for section in recipe.listeners
    ]


class _Guarded:
    """A plugin's listener: if it fails it is dropped with a warning, and the run continues."""

    def __init__(self, name: str, listener: Listener) -> None:
        self._name = name
        self._listener: Listener | None = listener

    def handle(self, event: Event) -> None:
        """See `Listener`."""
        if self._listener is None:
            return
        try:
            self._listener.handle(event)
        except Exception as err:
            self._listener = None
            warnings.warn(f"listener '{self._name}' failed and is dropped: {type(err).__name__}: {err}", stacklevel=2)
