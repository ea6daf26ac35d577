"""The address of a run: a digest of its resolved recipe and of the code that decides its result. Loads no torch.

Studies that need the same run share it; a changed recipe or changed code gives another run.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fptkit.engine.code_version import digest_parts, read_source, sources_of
from fptkit.options import deciding
from fptkit.recipe.load import load_installed
from fptkit.recipe.models import Recipe
from fptkit.registry import Entry, Registry
from fptkit.sources.places import data_digest
from fptkit.sources.weights import PACKAGED
from fptkit.specs import HOOKS, ListenerSpec, RecipeFolderSpec, TaskSpec

_WATCHING = (ListenerSpec, RecipeFolderSpec)
"""Records that decide no result: listeners only watch, and what is in a recipe counts, not where it was found."""


def address_of(
    recipe: Recipe, code_version: str, *, registry: Registry | None = None, data: dict[str, str] | None = None
) -> str:
    """Compute the address of a run.

    Options that do not decide the result are ignored, see `fptkit.options.Decides`. Data count by the content of their
    files, too, so other files under the same path give another address. Weights from a hub count only by name.

    Args:
        recipe: the recipe with the trial's learning rate and seed.
        code_version: result of `fptkit.engine.code_version.code_version`.
        registry: the registry that the recipe was checked with; None for installed plugins and those it names.
        data: digests of data that are known already, see `data_of`; None for none.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: a file of the data cannot be read, or changes meanwhile.
    """
    content = deciding(recipe)
    words = frozenset(words_in(content))
    registry = registry or load_installed([Path(file) for file in recipe.plugins])
    used = _used(registry, words)
    parts = {
        "recipe": content,
        "code": code_version,
        "weights": [_weights(word) for word in sorted(words) if word.startswith("builtin:")],
        "plugins": sorted({_plugin(entry) for entry in used}),
    }
    if digest := data_of(recipe, registry, data):
        parts["data"] = digest
    return digest_parts([json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()])


def data_of(recipe: Recipe, registry: Registry, known: dict[str, str] | None = None) -> str:
    """The digest of the files that a recipe's task may open; empty if there are none.

    Args:
        recipe: the recipe.
        registry: what the name of its task means.
        known: digests by task and options; one that is missing is added. None: the files are looked at.

    Raises:
        DataError: one cannot be read, or changes meanwhile.
    """
    task, pinned = recipe.task, recipe.pinned.source
    key = json.dumps([task.name, deciding(task.options), pinned], sort_keys=True)
    known = {} if known is None else known
    if key not in known:
        known[key] = data_digest(registry.get(TaskSpec, task.name), task.options, pinned)
    return known[key]


def written(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide a recipe's result, laid out as in a recipe file: options next to a component's name."""
    return {
        key: {"name": value["name"], **value["options"]} if isinstance(value, dict) and "options" in value else value
        for key, value in deciding(recipe).items()
    }


def plugin_digests(recipe: Recipe, registry: Registry) -> dict[str, str]:
    """Digest of every plugin component that a recipe uses, by the component's name."""
    words = frozenset(words_in(deciding(recipe)))
    return {entry.spec.name: _plugin(entry) for entry in _used(registry, words)}


def words_in(value: Any) -> Iterator[str]:
    """All strings among the values of a recipe or of a part of it, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (word for child in value.values() for word in words_in(child))
    elif isinstance(value, list):
        yield from (word for child in value for word in words_in(child))


def _used(registry: Registry, words: frozenset[str]) -> list[Entry]:
    """Plugin components named anywhere in the recipe, such as an encoder in another's options."""
    return [
        entry
        for kind in HOOKS.values()
        if kind not in _WATCHING
        for entry in registry.entries(kind)
        if entry.owner.origin != "builtin" and entry.spec.name in words
    ]


def _weights(entry: str) -> str:
    """Digest of packaged weights; missing weights count as empty here and make the run fail later."""
    folder = PACKAGED / entry.partition(":")[2]
    files = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("config.json"))
    return digest_parts(part for file in files for part in (file.name.encode(), _of_file(file).encode()))


def _plugin(entry: Entry) -> str:
    """Digest of a plugin: of its file, or of its distribution and the sources of the component's package."""
    owner, spec = entry.owner, entry.spec
    if owner.origin == "file":
        return _of_file(Path(owner.name))
    # A freezing policy has no target, and often neither options nor ``prepare``.
    target = next(filter(None, (getattr(spec, place, None) for place in ("target", "options", "prepare"))), "")
    module = target.partition(":")[0] if isinstance(target, str) else target.__module__
    # The record of a freezing policy is its whole definition.
    rules = repr(getattr(spec, "rules", ()))
    return digest_parts(part.encode() for part in (owner.distribution, owner.version, rules, _of_package(module)))


@functools.lru_cache(maxsize=256)
def _of_package(module: str) -> str:
    """Digest of a module's package sources: an editable install changes without a new version."""
    try:
        found = importlib.util.find_spec(module.partition(".")[0]) if module else None
    except ValueError:  # a module created at run time
        found = None
    places = [] if found is None else list(found.submodule_search_locations or filter(None, [found.origin]))
    return digest_parts(text for place in places for text in sources_of(Path(place)))


def _of_file(file: Path) -> str:
    status = file.stat()
    return _of_file_as_it_was(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _of_file_as_it_was(file: Path, modified_ns: int, size: int) -> str:
    """Cached, since all runs of a study share a few weights and plugins."""
    return digest_parts([read_source(file)])
