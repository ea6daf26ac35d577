"""The listeners that a recipe names."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.engine.component import build_component
from fptkit.engine.control import RunActions, RunControl
from fptkit.engine.events import Event, Listener
from fptkit.errors import UserInterrupt
from fptkit.options import Options
from fptkit.recipe.models import Recipe
from fptkit.registry import Registry
from fptkit.specs import ListenerSpec
from fptkit.specs.guard import author_line


def recipe_listeners(recipe: Recipe, registry: Registry, folder: Path, actions: RunActions) -> list[Listener]:
    """Build the recipe's listeners for a run folder. One that fails later is dropped, and the run continues.

    Args:
        recipe: the recipe.
        registry: of the plugins.
        folder: the run folder.
        actions: collects what they ask for.

    Raises:
        PluginError: one cannot be built.
    """
    found: list[Listener] = []
    for section in recipe.listeners:
        spec = registry.get(ListenerSpec, section.name)
        found.append(_Guarded(section.name, build_listener(spec, section.options, folder, actions), actions))
    return found


def build_listener(spec: ListenerSpec, options: Options, folder: Path, actions: RunActions) -> Listener:
    """Build a listener; one that may act gets a `RunControl`.

    Args:
        spec: its record.
        options: its options.
        folder: the run folder.
        actions: collects what it asks for.

    Raises:
        PluginError: it cannot be built.
    """
    control = {"run": RunControl(spec.name, spec.may, actions)} if spec.may else {}
    built: Listener = build_component(spec, options, folder=folder, **control)
    return built


def import_listeners(recipe: Recipe, registry: Registry) -> None:
    """Import the recipe's listeners, so that a missing package is reported before anything is built.

    Raises:
        PluginError: one of them cannot be imported; the error says what to install.
    """
    for section in recipe.listeners:
        registry.get(ListenerSpec, section.name).resolve()


def copied(event: Event) -> Event:
    """The event with copies of its mappings: a listener that changes one changes no figure of the run."""
    changed: dict[str, Any] = {
        field.name: copy.deepcopy(value)
        for field in dataclasses.fields(event)
        if isinstance(value := getattr(event, field.name), Mapping)
    }
    return dataclasses.replace(event, **changed) if changed else event


class _Guarded:
    """A plugin's listener: if it fails it is dropped with a note, and the run continues."""

    def __init__(self, name: str, listener: Listener, actions: RunActions) -> None:
        self._name, self._actions = name, actions
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
            self._actions.drop(self._name, f"{type(err).__name__}: {err}" + (f" (at {place})" if place else ""))
