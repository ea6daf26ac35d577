"""Checks of the parts of a study that plugins may bring: names of controls and of the search, and its options."""

from __future__ import annotations

from fptkit.lab.studies.options import SearchOptions
from fptkit.lab.studies.read import Draft, unknown
from fptkit.options import Options
from fptkit.recipe.check import check_model
from fptkit.recipe.tree import Node
from fptkit.registry import Registry
from fptkit.specs import ControlSpec, SearchSpec


def check_parts(draft: Draft, registry: Registry, *, unknown_names: bool) -> None:
    """Append a fault for every control or search that no plugin brings, and for wrong options of a search.

    Args:
        draft: the study; skipped if its settings could not be read.
        registry: all plugins, with those of the study.
        unknown_names: false if a plugin of the study failed to load, which may be why names are unknown.
    """
    if draft.settings is None:
        return
    known = registry.names(ControlSpec)
    for number, control in enumerate(draft.settings.controls):
        if control not in known and unknown_names:
            draft.fault(["controls", number], unknown("control", control, known))
    name, searches = draft.settings.search.name, registry.names(SearchSpec)
    if name in searches:
        written = draft.tree.mapping.get("search", draft.tree).mapping.get("options")
        model = registry.get(SearchSpec, name).options_model()
        model = Options if issubclass(model, SearchOptions) else model  # those of fptkit's own searches are beside
        check_model(written or Node({}, draft.place("search", "name")), model, "search.options", draft.faults)
    elif unknown_names:
        draft.fault(["search", "name"], unknown("search", name, searches))
