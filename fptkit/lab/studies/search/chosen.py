"""The search that a study names: its function, and what plans must know about it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fptkit.errors import PluginError
from fptkit.lab.records import fptkit_searches
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import SearchedCell
from fptkit.lab.studies.search.choice import Choice, Outcomes
from fptkit.registry import in_use
from fptkit.specs import SearchSpec, resolve_target
from fptkit.specs.guard import during


def search(settings: StudySettings, cell: SearchedCell, group: Sequence[int], outcomes: Outcomes) -> Choice:
    """What a group of seeds needs next to choose one rate, from the outcomes of its own runs.

    Raises:
        UnknownNameError: no plugin brings the study's search.
        PluginError: its function cannot be imported, or returned something else.
        UsageError: it needs a package that is not installed.
    """
    spec = search_of(settings)
    with during(of=spec):
        found = _resolved(spec, "target")(settings, cell, group, outcomes)
    if not isinstance(found, Choice):
        raise PluginError(
            f"{spec}: it returned {type(found).__name__}, expected fptkit.lab.studies.search.choice.Choice: return "
            "searching(...) or choose(...)"
        )
    return found


def search_of(settings: StudySettings) -> SearchSpec:
    """The record of the study's search; that of the grid if there are no rates to search.

    Raises:
        UnknownNameError: no plugin brings it.
    """
    name = settings.search.name if settings.learning_rates else "grid"
    # Results of studies with fptkit's own searches are read without loading a plugin.
    return next((spec for spec in fptkit_searches() if spec.name == name), None) or in_use().get(SearchSpec, name)


def most_runs(settings: StudySettings) -> int:
    """Largest number of runs that the search makes with one seed.

    Raises:
        UnknownNameError: no plugin brings the study's search.
        PluginError: its function returned no number of runs.
    """
    spec, rates = search_of(settings), max(1, len(settings.learning_rates))
    if spec.runs_per_seed is None:
        return rates
    with during(of=spec):
        runs = _resolved(spec, "runs_per_seed")(settings, rates)
    if not isinstance(runs, int) or runs < 1:
        raise PluginError(f"{spec}: runs_per_seed returned {runs!r}, expected the number of runs, at least 1")
    return runs


@functools.lru_cache(maxsize=64)
def _resolved(spec: SearchSpec, label: str) -> Callable[..., Any]:
    """A function that the record names; kept, since a search is asked again after every run."""
    found: Callable[..., Any] = resolve_target(getattr(spec, label), wanted_by=spec)
    return found
