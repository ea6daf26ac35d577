"""What a run is addressed by: its resolved recipe and the code that decides its result. Light: no torch.

Two studies that need the same run share it; a recipe or a code that changed makes another.
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
from fptkit.sources.weights import PACKAGED
from fptkit.specs import HOOKS


def address_of(recipe: Recipe, code_version: str, *, registry: Registry | None = None) -> str:
    """The address of a run.

    Options that do not decide the result are left out, see `fptkit.options.Decides`. Of data in a folder (``path:DIR``)
    only the path counts, and of weights from a hub only the name.

    Args:
        recipe: with the trial's learning rate and seed.
        code_version: of `fptkit.engine.code_version.code_version`.
        registry: the plugins it was checked against; None for those installed and those it names.

    Returns:
        64 hexadecimal digits.
    """
    content = deciding(recipe)
    words = frozenset(_words(content))
    used = _used(registry or load_installed([Path(file) for file in recipe.plugins]), words)
    parts = {
        "recipe": content,
        "code": code_version,
        "weights": [_weights(word) for word in sorted(words) if word.startswith("builtin:")],
        "plugins": sorted({_plugin(entry) for entry in used}),
    }
    return digest_parts([json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()])


def _words(value: Any) -> Iterator[str]:
    """Every text among the values of a recipe."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (word for child in value.values() for word in _words(child))
    elif isinstance(value, list):
        yield from (word for child in value for word in _words(child))


def _used(registry: Registry, words: frozenset[str]) -> list[Entry]:
    """Components of plugins whose names the recipe holds anywhere, such as an encoder inside another's options."""
    return [
        entry
        for kind in HOOKS.values()
        for entry in registry.entries(kind)
        if entry.owner.origin != "builtin" and entry.spec.name in words
    ]


def _weights(entry: str) -> str:
    """Digest of weights that come with the package; one that is not there makes the run fail, and is none here."""
    folder = PACKAGED / entry.partition(":")[2]
    files = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("config.json"))
    return digest_parts(part for file in files for part in (file.name.encode(), _of_file(file).encode()))


def _plugin(entry: Entry) -> str:
    """Digest of a plugin: of its file, or of its distribution with the sources of the component."""
    owner, spec = entry.owner, entry.spec
    if owner.origin == "file":
        return _of_file(Path(owner.name))
    target = getattr(spec, "target", "") or getattr(spec, "options", "")
    module = target.partition(":")[0] if isinstance(target, str) else target.__module__
    # A freezing policy is all in its record.
    rules = repr(getattr(spec, "rules", ()))
    return digest_parts(part.encode() for part in (owner.distribution, owner.version, rules, _of_package(module)))


@functools.lru_cache(maxsize=256)
def _of_package(module: str) -> str:
    """Digest of the sources of the package a module is in: an editable one changes while its version stays."""
    try:
        found = importlib.util.find_spec(module.partition(".")[0]) if module else None
    except ValueError:  # a module that was made by hand
        found = None
    places = [] if found is None else list(found.submodule_search_locations or filter(None, [found.origin]))
    return digest_parts(text for place in places for text in sources_of(Path(place)))


def _of_file(file: Path) -> str:
    status = file.stat()
    return _of_file_as_it_was(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _of_file_as_it_was(file: Path, modified_ns: int, size: int) -> str:
    """Read once: all runs of a study share a few weights and plugins."""
    return digest_parts([read_source(file)])
