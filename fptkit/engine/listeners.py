"""The listeners that a recipe names."""

from __future__ import annotations

import copy
import dataclasses
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.engine.build import build_component
from fptkit.engine.events import Event, Listener
from fptkit.errors import UserInterrupt
from fptkit.recipe.models import Recipe
from fptkit.registry import Registry
from fptkit.specs import ListenerSpec
from fptkit.specs.guard import author_line


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


def copied(event: Event) -> Event:
    """The event with copies of its mappings: a listener that changes one changes no figure of the run."""
    changed: dict[str, Any] = {
        field.name: copy.deepcopy(value)
        for field in dataclasses.fields(event)
        if isinstance(value := getattr(event, field.name), Mapping)
    }
    return dataclasses.replace(event, **changed) if changed else event


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
        except UserInterrupt:
            raise
        except BaseException as err:  # a listener must not end a run, not even by sys.exit
            self._listener = None
            place = author_line(err)
            self._warn(f"{type(err).__name__}: {err}" + (f" (at {place})" if place else ""))

    def _warn(self, why: str) -> None:
        text = f"listener '{self._name}' failed and is dropped: {why}"
        try:
            warnings.warn(text, stacklevel=4)
        except Warning:  # warnings are errors in this process, but a listener is no reason to end a run
            print(f"warning: {text}", file=sys.stderr)
