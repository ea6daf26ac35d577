"""The components of plugins that a run uses, and a run that their code ended before its first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fptkit.engine.code_version import digest_parts, read_source
from fptkit.errors import FptkitError
from fptkit.files import SUMMARY, write_sealed
from fptkit.recipe.models import Recipe
from fptkit.registry import Entry, Plugin, Registry
from fptkit.specs import KINDS, ComponentSpec, FreezingPolicySpec, resolve_target


def used_entries(recipe: Recipe, registry: Registry) -> list[Entry]:
    """The entries of plugins, not fptkit's own, that a recipe names in its sections."""
    return [entry for entry in _named(recipe, registry) if entry.owner.origin != "builtin"]


def check_targets(recipe: Recipe, registry: Registry) -> None:
    """Import what a recipe needs of plugins; nothing is built.

    Raises:
        PluginError: a target cannot be imported.
    """
    for entry in used_entries(recipe, registry):
        if isinstance(entry.spec, ComponentSpec):
            entry.spec.resolve()
        elif isinstance(entry.spec, FreezingPolicySpec) and entry.spec.prepare is not None:
            resolve_target(entry.spec.prepare, wanted_by=entry.spec)


def _named(recipe: Recipe, registry: Registry) -> Iterator[Entry]:
    for kind in KINDS:
        section = getattr(recipe, kind.section, None) if kind.section else None
        for component in section if isinstance(section, tuple) else filter(None, [section]):
            if component.name in registry.names(kind.record):
                yield registry.entry(kind.record, component.name)


def described(entries: list[Entry]) -> list[str]:
    """The components in words, for errors: one text for each plugin."""
    texts: dict[str, list[str]] = {}
    for entry in entries:
        texts.setdefault(entry.owner.described, []).append(str(entry.spec))
    return [f"{owner} ({', '.join(specs)})" for owner, specs in texts.items()]


def plugin_facts(entries: list[Entry]) -> list[dict[str, Any]]:
    """The plugins of a run for ``summary.json``: name, version and components; for a file, the digest of its text."""
    facts: dict[str, dict[str, Any]] = {}
    for entry in entries:
        known = facts.setdefault(entry.owner.name, {**_facts_of(entry.owner), "components": []})
        known["components"].append(str(entry.spec))
    return list(facts.values())


def _facts_of(plugin: Plugin) -> dict[str, Any]:
    if plugin.origin == "file":
        file = Path(plugin.name)
        digest = digest_parts([read_source(file)]) if file.is_file() else ""
        return {"name": file.stem, "file": plugin.name, "digest": digest}
    return {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version}


def record_failure(folder: Path, name: str, before: Mapping[str, Any], fault: FptkitError) -> None:
    """Write into a run's summary that a plugin failed before the first step; what an earlier part wrote stays.

    Args:
        folder: the run folder.
        name: name of the recipe.
        before: the summary so far; empty for a new run.
        fault: the failure.
    """
    if before.get("status") not in ("finished", "validated", "paused"):
        write_sealed(
            folder / SUMMARY,
            {"recipe": name, **before, "status": "failed", "reason": f"{type(fault).__name__}: {fault}"},
        )
